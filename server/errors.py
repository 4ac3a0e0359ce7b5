"""Every failure in OpenAI's shape: {"error": {message, type, param, code}}."""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from engine.messages import Output
from server.exchange import note_error

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}
#: union branches and validators name themselves in pydantic's locations; a client's fields look like this
FIELD_NAME = re.compile(r"[A-Za-z_]\w*")
BRANCH_NAMES = {"str", "int", "float", "bool", "list", "dict", "none"}


class ApiError(HTTPException):
    """A failure with all that OpenAI's clients read. `message` is one sentence that says what to do."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.param = param
        self.code = code

    @property
    def body(self) -> dict[str, Any]:
        return error_body(self.status_code, self.detail, self.param, self.code)

    @property
    def kind(self) -> str:
        """The code or, without one, the type: what figures and logs tell failures apart by."""
        return error_kind(self.body)


class ErrorResponse(JSONResponse):
    """An error's body that is noted in the exchange it ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        note_error(scope, error_kind(json.loads(bytes(self.body))))
        await super().__call__(scope, receive, send)


def error_kind(body: dict[str, Any]) -> str:
    error = body["error"]
    return str(error["code"] or error["type"])


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def unavailable(message: str, code: str, seconds: int = 1) -> ApiError:
    """A 503 that says when to try again."""
    return ApiError(503, message, code=code, headers={"Retry-After": str(seconds)})


def internal_error() -> ApiError:
    """What a client is told of a failure that nobody expected; the log has the rest."""
    return ApiError(500, "The server failed on this request; its log says why.", code="internal_error")


def engine_error(output: Output, grammar_field: str | None = None) -> ApiError:
    """What an output with finish_reason "error" means to the client: its own fault where a field is named.

    The engine's word for a grammar is the client's `grammar_field`.
    """
    message = output.error or "The engine could not serve this request."
    if output.error_param is not None:
        return bad_request(message, grammar_field if output.error_param == "grammar" else output.error_param)
    return ApiError(500, message, code="engine_error")


def error_response(error: ApiError) -> ErrorResponse:
    return ErrorResponse(error.body, error.status_code, headers=error.headers)


def install_error_handlers(app: FastAPI) -> None:
    """Give every failure of a route OpenAI's shape; what nobody expected is middleware/failures.py's."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)


async def _http_error(request: Request, error: Exception) -> ErrorResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error, ApiError):
        return error_response(error)
    message = {
        400: "The body cannot be read as JSON.",
        404: f"There is no {request.url.path} here; /docs lists what there is.",
        405: f"{request.url.path} does not answer {request.method}.",
    }.get(error.status_code, str(error.detail))
    return ErrorResponse(error_body(error.status_code, message), error.status_code, headers=error.headers)


async def _validation_error(request: Request, error: Exception) -> ErrorResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "it cannot be parsed")
        return ErrorResponse(error_body(400, f"The body is not valid JSON: {reason}.", code="invalid_json"), 400)
    param = _param(first["loc"])
    message = f"{param}: {first['msg']}." if param else f"The body is not usable: {first['msg']}."
    return ErrorResponse(error_body(400, message, param), 400)


def _param(location: tuple[int | str, ...]) -> str | None:
    """The field at fault as a client writes it, such as messages[0].content, up to where a union branches."""
    path = ""
    for part in location[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif FIELD_NAME.fullmatch(part) and part not in BRANCH_NAMES:
            path += f".{part}" if path else part
        else:
            break
    return path or None
