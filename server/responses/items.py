"""Items of a response's input as messages for the chat template, and as clients read them back."""

from __future__ import annotations

import uuid
from typing import Any

from server.errors import bad_request
from server.protocol.chat import Message
from server.protocol.responses import ContentPart, InputItem


def messages_of(items: list[InputItem]) -> list[Message]:
    """The conversation in order. Reasoning of earlier answers is left out, as templates do. Raises a 400."""
    messages: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        where = f"input[{index}]"
        if item.type == "message":
            messages.append(_message(item, where))
        elif item.type == "function_call":
            _add_call(messages, item, where)
        elif item.type == "function_call_output":
            call_id = _needed(item.call_id, f"{where}.call_id")
            content = text_of(item.output, f"{where}.output")
            messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
    return [Message.model_validate(message) for message in messages]


def text_of(content: str | list[ContentPart] | None, where: str) -> str:
    """All text of an item's content. Raises a 400 where there is none given."""
    if content is None:
        raise bad_request(f"{where} is missing.", where)
    return content if isinstance(content, str) else "".join(part.refusal or part.text for part in content)


def input_items(items: list[InputItem]) -> list[dict[str, Any]]:
    """The items as clients read them back: each with an id, text as parts."""
    return [_readable(item) for item in items]


def _message(item: InputItem, where: str) -> dict[str, Any]:
    role = _needed(item.role, f"{where}.role")
    return {"role": role, "content": text_of(item.content, f"{where}.content")}


def _add_call(messages: list[dict[str, Any]], item: InputItem, where: str) -> None:
    """Calls that follow each other, or an assistant's text, belong to one message."""
    call = {
        "id": _needed(item.call_id, f"{where}.call_id"),
        "type": "function",
        "function": {"name": _needed(item.name, f"{where}.name"), "arguments": item.arguments or "{}"},
    }
    if not (messages and messages[-1]["role"] == "assistant"):
        messages.append({"role": "assistant", "content": ""})
    messages[-1].setdefault("tool_calls", []).append(call)


def _needed(value: str | None, where: str) -> str:
    if value is None:
        raise bad_request(f"{where} is missing.", where)
    return value


def _readable(item: InputItem) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": item.type, "id": f"msg_{uuid.uuid4().hex}", "status": "completed"}
    shown |= item.model_dump(exclude_unset=True)
    if isinstance(item.content, str):
        kind = "output_text" if item.role == "assistant" else "input_text"
        shown["content"] = [{"type": kind, "text": item.content}]
    return shown
