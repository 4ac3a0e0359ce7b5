"""What clients send and receive, as pydantic models: OpenAI's fields, and vLLM's extensions under vLLM's names."""
