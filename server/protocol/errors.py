"""The body of every failure, for /docs."""

from __future__ import annotations

from typing import Any

from server.protocol.fields import ResponseModel


class ErrorDetail(ResponseModel):
    """`message` is one sentence that says what to do; `param` names the request's field at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(ResponseModel):
    """What every failed request is answered with."""

    error: ErrorDetail


#: what any endpoint may answer beside its own body
FAILURES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be served as asked."},
    "5XX": {"model": ErrorBody, "description": "The server or its engine failed, or is not ready; see Retry-After."},
}
