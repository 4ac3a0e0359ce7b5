"""POST /v1/chat/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from server.answers.chat import ChatAnswer
from server.errors import bad_request
from server.exchange import Exchange
from server.jobs import chat_job
from server.protocol.chat import ChatRequest, ChatResponse
from server.routes.bodies import JSON_BODY, respond
from server.serving import Serving, request_id

router = APIRouter(tags=["generation"])


@router.post("/v1/chat/completions", response_model=ChatResponse, dependencies=JSON_BODY)
async def create_chat_completion(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation; with `stream`, as server-sent events."""
    serving = Serving.of(request)
    model = serving.check_model(body.model)
    check_template(body.chat_template, serving)
    name = f"chatcmpl-{request_id(body, request)}"
    with serving.gate.place(body.choices):
        job = await chat_job(body, name, serving.tokenizer, serving.engine.ready, serving.grammars, serving.formats)
    answer = ChatAnswer(body, serving.generate(job, Exchange.of(request)), serving.tokenizer, model)
    return await respond(answer, request, serving)


def check_template(template: str | None, serving: Serving) -> None:
    """A template is a program: one that comes with a request runs only where the operator trusts clients."""
    if template is not None and not serving.settings.trust_request_chat_template:
        raise bad_request(
            "chat_template is only taken from requests when the server runs with --trust-request-chat-template.",
            "chat_template",
        )
