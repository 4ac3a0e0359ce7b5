"""/v1/responses: create, retrieve, follow, cancel and delete."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response as HttpResponse

from server.disconnect import ClientGoneError, while_connected
from server.errors import bad_request
from server.exchange import CLIENT_CLOSED, CLIENT_CLOSED_REQUEST, Exchange, note_error
from server.protocol.response_objects import Deleted, InputItems, Response
from server.protocol.responses import ResponsesRequest
from server.responses.background import Run
from server.responses.creation import create
from server.routes.bodies import JSON_BODY
from server.serving import Serving, ignored_fields
from server.streaming import EventStream

router = APIRouter(tags=["responses"])


@router.post("/v1/responses", response_model=Response, dependencies=JSON_BODY)
async def create_response(body: ResponsesRequest, request: Request) -> HttpResponse:
    """Answer a conversation; with `stream` as typed events, with `background` while the client goes its way."""
    serving = Serving.of(request)
    exchange = Exchange.of(request)
    answer, stored = await create(body, serving, exchange)
    headers, settings = ignored_fields(body), serving.settings
    if body.background:
        answer.finished = lambda: serving.responses.grown(stored)
        exchange.deferred = True
        stored.run = Run(answer, settings.pacing, exchange.finish)
        serving.responses.add(stored)
        if body.stream:
            return EventStream(stored.run.follow(-1), settings.stream_times, headers, framed=True)
        return _json(answer.response, headers)
    if answer.response.store:
        answer.finished = lambda: serving.responses.add(stored)
    if body.stream:
        return EventStream(answer.events(settings.pacing), settings.stream_times, headers, framed=True)
    try:
        return _json(await while_connected(request.receive, answer.whole()), headers)
    except ClientGoneError:
        note_error(request.scope, CLIENT_CLOSED)
        return HttpResponse(status_code=CLIENT_CLOSED_REQUEST)


@router.get("/v1/responses/{response_id}", response_model=Response)
async def retrieve_response(
    response_id: str,
    request: Request,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=-1, lt=2**31)] = -1,
) -> HttpResponse:
    """A stored response; with `stream`, the events of one made in the background, after number `starting_after`."""
    serving = Serving.of(request)
    stored = serving.responses.get(response_id)
    if not stream:
        return _json(stored.response)
    if stored.run is None:
        raise bad_request("Only a response that was made in the background can be streamed again.", "stream")
    return EventStream(stored.run.follow(starting_after), serving.settings.stream_times, framed=True)


@router.post("/v1/responses/{response_id}/cancel", response_model=Response)
async def cancel_response(response_id: str, request: Request) -> HttpResponse:
    """Stop a response that is being made in the background; one that has finished stays as it is."""
    stored = Serving.of(request).responses.get(response_id)
    if stored.run is None:
        raise bad_request("Only a background response can be cancelled; close the connection of any other.")
    await stored.run.cancel()
    return _json(stored.response)


@router.delete("/v1/responses/{response_id}")
async def delete_response(response_id: str, request: Request) -> Deleted:
    """Forget a stored response."""
    await Serving.of(request).responses.delete(response_id)
    return Deleted(id=response_id, deleted=True)


@router.get("/v1/responses/{response_id}/input_items")
async def list_input_items(
    response_id: str,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> InputItems:
    """What a stored response was asked with; `after` is the id of the last item of the page before."""
    items = Serving.of(request).responses.get(response_id).items
    ordered = items if order == "asc" else items[::-1]
    begin = 0
    if after is not None:
        names = [item["id"] for item in ordered]
        if after not in names:
            raise bad_request("There is no such item.", "after")
        begin = names.index(after) + 1
    page = ordered[begin : begin + limit]
    return InputItems(
        data=page,
        first_id=page[0]["id"] if page else None,
        last_id=page[-1]["id"] if page else None,
        has_more=begin + limit < len(ordered),
    )


def _json(response: Response, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(response.to_json(), media_type="application/json", headers=headers)
