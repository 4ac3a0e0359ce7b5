"""Responses that are kept in memory, the least recently used going first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from server.errors import ApiError
from server.protocol.chat import Message
from server.protocol.response_objects import Response
from server.protocol.tools import CalledFunction, PastCall
from server.responses.background import Run

#: what all kept conversations together may hold, in characters
MAX_CHARACTERS = 2**27


@dataclass
class Stored:
    """One response with what it answers: `items` of its own request, `context` of the whole conversation before it."""

    response: Response
    items: list[dict[str, Any]]
    context: list[Message]
    run: Run | None = None

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.running

    @property
    def messages(self) -> list[Message]:
        """The conversation, this answer included."""
        text = "".join(part.text for item in self.response.output if item.type == "message" for part in item.content)
        calls = [
            PastCall(id=item.call_id, index=None, function=CalledFunction(name=item.name, arguments=item.arguments))
            for item in self.response.output
            if item.type == "function_call"
        ]
        answer = Message(role="assistant", content=text)
        if calls:
            answer = Message(role="assistant", content=text, tool_calls=calls)
        return [*self.context, answer]

    @property
    def characters(self) -> int:
        return sum(len(str(message.content)) for message in self.context)


class ResponseStore:
    """At most `limit` finished responses; those still being made are kept besides."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[str, Stored] = OrderedDict()
        self._sizes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, stored: Stored) -> None:
        """Keep this one, and drop the least recently used ones beyond the limits."""
        name = stored.response.id
        self._kept[name] = stored
        self._sizes[name] = stored.characters
        finished = [key for key, other in self._kept.items() if not other.running]
        excess, characters = len(finished) - self.limit, sum(self._sizes.values())
        for oldest in finished:
            if excess <= 0 and characters <= MAX_CHARACTERS:
                break
            excess, characters = excess - 1, characters - self._sizes[oldest]
            self._drop(oldest)

    def get(self, name: str, param: str | None = None) -> Stored:
        """Raises a 404 for a response that was never made, not stored, deleted or dropped since."""
        if name not in self._kept:
            raise ApiError(404, f"There is no response {name[:80]!r} here (any more).", param=param)
        self._kept.move_to_end(name)
        return self._kept[name]

    async def delete(self, name: str) -> None:
        """Forget it; if it is still being made, stop it. Raises a 404 as `get` does."""
        stored = self.get(name)
        self._drop(name)
        if stored.run is not None:
            await stored.run.cancel()

    def _drop(self, name: str) -> None:
        del self._kept[name], self._sizes[name]
