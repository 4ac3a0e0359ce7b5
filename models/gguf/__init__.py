"""GGUF files: their header, and what config, tokenizer and weights it makes; nothing that they say is trusted."""
