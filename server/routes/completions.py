"""POST /v1/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from server.answers.completions import CompletionAnswer
from server.exchange import Exchange
from server.jobs import completion_job
from server.protocol.completions import CompletionRequest, CompletionResponse
from server.routes.bodies import JSON_BODY, respond
from server.serving import Serving, request_id

router = APIRouter(tags=["generation"])


@router.post("/v1/completions", response_model=CompletionResponse, dependencies=JSON_BODY)
async def create_completion(body: CompletionRequest, request: Request) -> Response:
    """Complete one or several prompts; with `stream`, as server-sent events."""
    serving = Serving.of(request)
    model = serving.check_model(body.model)
    name = f"cmpl-{request_id(body, request)}"
    with serving.gate.place(body.sequences):
        job = await completion_job(body, name, serving.tokenizer, serving.engine.ready, serving.grammars)
    answer = CompletionAnswer(body, serving.generate(job, Exchange.of(request)), serving.tokenizer, model)
    return await respond(answer, request, serving)
