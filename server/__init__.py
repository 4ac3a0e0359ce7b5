"""The server: OpenAI requests in, text out. It knows strings and HTTP; the engine behind it knows token ids."""
