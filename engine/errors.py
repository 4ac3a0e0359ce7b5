"""Errors the engine raises towards its caller; each message is one sentence that says what to do."""

from __future__ import annotations

from models.errors import ModelError


class EngineError(RuntimeError):
    """The engine cannot start or go on."""


class RequestError(ValueError):
    """One request cannot be served as asked; `param` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def sentence(error: Exception) -> str:
    """What to tell the operator: an EngineError or ModelError speaks for itself, anything else is named."""
    if isinstance(error, (EngineError, ModelError)):
        return str(error)
    return f"The engine failed with {type(error).__name__}: {error}"


#: of a request whose rows hold what is no number
NAN_MESSAGE = (
    "The model gave logits that are not numbers for this request; its weights or the prompt's cache are damaged."
)
