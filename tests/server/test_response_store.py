"""What stored responses may take."""

from __future__ import annotations

import pytest

from server.errors import ApiError
from server.protocol.chat import Message
from server.protocol.response_objects import Response
from server.responses.store import ResponseStore, Stored
from tests.server.live import LiveServer
from tests.server.test_responses import respond

LONG = "y" * 100_000


def made(server: LiveServer, where: str) -> Stored:
    """A response that holds LONG in one of the places that a client can fill."""
    fields = {"user": LONG} if where == "settings" else {}
    stored = Stored(Response.model_validate(respond(server, max_output_tokens=1, **fields)), [], [])
    if where == "items":
        stored.items.append({"type": "reasoning", "id": LONG})
    elif where == "calls":
        call = {"id": "1", "function": {"name": "f", "arguments": LONG}}
        stored.context.append(Message.model_validate({"role": "assistant", "tool_calls": [call]}))
    return stored


@pytest.mark.parametrize("where", ["settings", "items", "calls"])
def test_all_that_a_client_can_fill_counts(server: LiveServer, where: str) -> None:
    store = ResponseStore(limit=10, characters=250_000)
    responses = [made(server, where) for _ in range(3)]
    for each in responses:
        store.add(each)
    assert len(store) == 2
    with pytest.raises(ApiError):
        store.get(responses[0].response.id)


def test_one_that_has_grown_counts_as_it_is_now(server: LiveServer) -> None:
    store = ResponseStore(limit=10, characters=250_000)
    first, second = made(server, "nothing"), made(server, "settings")
    store.add(first)
    store.add(second)
    second.items.append({"type": "reasoning", "id": LONG + LONG})
    store.grown(second)
    assert len(store) == 0, "the oldest goes first, and the one that is too large by itself after it"
    store.grown(second)
    assert len(store) == 0, "one that is gone does not come back"
