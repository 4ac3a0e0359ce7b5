"""What all routes with a JSON body have in common."""

from __future__ import annotations

from fastapi import Depends, Request
from fastapi.responses import Response

from server.answers.base import Answer, Asked
from server.disconnect import ClientGoneError, while_connected
from server.errors import ApiError
from server.exchange import CLIENT_CLOSED, CLIENT_CLOSED_REQUEST, note_error
from server.serving import Serving, ignored_fields
from server.streaming import EventStream


async def require_json(request: Request) -> None:
    """Raises a 415 for a body that does not say it is JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise ApiError(
            415, "Send the body as JSON, with Content-Type: application/json.", code="unsupported_media_type"
        )


JSON_BODY = [Depends(require_json)]


async def respond(answer: Answer[Asked], request: Request, serving: Serving) -> Response:
    """The whole answer, or its stream; a client that leaves ends the generation."""
    headers = ignored_fields(answer.request)
    settings = serving.settings
    if answer.request.stream:
        return EventStream(answer.chunks(settings.pacing), settings.stream_times, headers)
    try:
        body = await while_connected(request.receive, answer.whole())
    except ClientGoneError:
        note_error(request.scope, CLIENT_CLOSED)
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return Response(body.to_json(), media_type="application/json", headers=headers)
