"""A conversation in the terminal, over HTTP."""
