"""A real server under load: what clients send, what they see, and what the processes hold meanwhile."""
