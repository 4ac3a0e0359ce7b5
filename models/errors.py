"""The one error of this package."""


class ModelError(ValueError):
    """A checkpoint, tokenizer or model setting cannot be used; the message is one sentence for the user."""
