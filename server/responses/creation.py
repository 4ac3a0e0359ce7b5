"""From a checked request to a response that is about to be made."""

from __future__ import annotations

import time
import uuid

from server.errors import bad_request
from server.exchange import Exchange
from server.jobs import chat_job
from server.protocol.chat import Message
from server.protocol.response_objects import Response
from server.protocol.responses import FunctionChoice, ResponsesRequest
from server.responses.answer import ResponseAnswer
from server.responses.as_chat import chat_request, fields_renamed
from server.responses.items import input_items, messages_of
from server.responses.store import ResponseStore, Stored
from server.serving import Serving


async def create(body: ResponsesRequest, serving: Serving, exchange: Exchange) -> tuple[ResponseAnswer, Stored]:
    """The answer, let in but not begun, and how it is to be stored. Raises ApiError where it cannot be made."""
    body.refuse_unsupported()
    body.check_writable()
    model = serving.check_model(body.model)
    store = serving.responses
    if body.background and not store.limit:
        raise bad_request("This server stores no responses, so none can be made in the background.", "background")
    context = _earlier(body.previous_response_id, store) + messages_of(body.input)
    instructions = [Message(role="system", content=body.instructions)] if body.instructions else []
    name = f"resp_{uuid.uuid4().hex}"
    with fields_renamed(), serving.gate.place(1):
        chat = chat_request(body, instructions + context)
        job = await chat_job(chat, name, serving.tokenizer, serving.engine.ready, serving.grammars, serving.formats)
    response = _response(body, name, model, body.stored and store.limit > 0)
    answer = ResponseAnswer(body, serving.generate(job, exchange), serving.tokenizer, response)
    return answer, Stored(response, input_items(body.input), context)


def _earlier(name: str | None, store: ResponseStore) -> list[Message]:
    if name is None:
        return []
    earlier = store.get(name, "previous_response_id")
    if earlier.response.status not in ("completed", "incomplete"):
        raise bad_request(f"The previous response is {earlier.response.status}.", "previous_response_id")
    return earlier.messages


def _response(body: ResponsesRequest, name: str, model: str, stored: bool) -> Response:
    text = body.text.model_dump(exclude_none=True, by_alias=True) if body.text else {}
    choice = body.tool_choice
    return Response(
        id=name,
        created_at=int(time.time()),
        status="queued" if body.background else "in_progress",
        background=bool(body.background),
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        metadata=body.metadata or {},
        model=model,
        output=[],
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        reasoning=body.reasoning.model_dump() if body.reasoning else {"effort": None, "summary": None},
        service_tier=body.service_tier or "auto",
        store=stored,
        temperature=1.0 if body.temperature is None else body.temperature,
        text={"format": {"type": "text"}, **text},
        tool_choice=choice.model_dump() if isinstance(choice, FunctionChoice) else choice or "auto",
        tools=[tool.model_dump() for tool in body.tools or ()],
        top_logprobs=body.top_logprobs or 0,
        top_p=1.0 if body.top_p is None else body.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
        prompt_cache_key=body.prompt_cache_key,
        safety_identifier=body.safety_identifier,
    )
