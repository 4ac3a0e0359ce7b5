"""The errors of this package."""


class ModelError(ValueError):
    """A checkpoint, tokenizer or model setting cannot be used; the message is one sentence for the user."""


class PromptError(ModelError):
    """This one prompt cannot be turned into tokens; the model is fine."""
