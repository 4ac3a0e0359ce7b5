"""Several ways to decode, on one prompt file, in one run: speed, forwards, agreement with the first, task scores."""
