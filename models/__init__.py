"""Decoders, tokenizers and checkpoints; imports neither the engine nor the server, and nothing by itself."""
