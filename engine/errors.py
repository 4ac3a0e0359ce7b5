"""Errors the engine raises towards its caller; each message is one sentence that says what to do."""


class EngineError(RuntimeError):
    """The engine cannot start or go on."""


class RequestError(ValueError):
    """One request cannot be served as asked; `param` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


#: of a request whose rows hold what is no number
NAN_MESSAGE = (
    "The model gave logits that are not numbers for this request; its weights or the prompt's cache are damaged."
)
