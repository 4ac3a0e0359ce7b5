"""Tool calls: found in what a model writes, and forced out of it by a grammar; one file per format."""
