"""POST /tokenize and /detokenize."""

from __future__ import annotations

from fastapi import APIRouter, Request

from server.conversation import chat_text
from server.errors import bad_request
from server.prompts import check_token_ids, encode
from server.protocol.models import DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse
from server.routes.bodies import JSON_BODY
from server.routes.chat import check_template
from server.serving import Serving

router = APIRouter(tags=["tokens"])


@router.post("/tokenize", dependencies=JSON_BODY, response_model_exclude_unset=True)
async def tokenize(body: TokenizeRequest, request: Request) -> TokenizeResponse:
    """Token ids of a text or a conversation."""
    serving = Serving.of(request)
    serving.check_model(body.model)
    if (body.prompt is None) != bool(body.messages):
        raise bad_request("Give either prompt or messages.", "prompt")
    if body.messages:
        check_template(body.chat_template, serving)
        text = chat_text(body, serving.tokenizer)
        tokens = await encode(serving.tokenizer, text, bool(body.add_special_tokens), "messages")
    else:
        tokens = await encode(serving.tokenizer, body.prompt or "", body.add_special_tokens is not False, "prompt")
    answer = TokenizeResponse(count=len(tokens), max_model_len=serving.engine.ready.max_model_len, tokens=tokens)
    if body.return_token_strs:
        answer.token_strs = [serving.tokenizer.token_text(token) for token in tokens]
    return answer


@router.post("/detokenize", dependencies=JSON_BODY)
async def detokenize(body: DetokenizeRequest, request: Request) -> DetokenizeResponse:
    """Text of token ids, special tokens included."""
    serving = Serving.of(request)
    serving.check_model(body.model)
    check_token_ids(body.tokens, serving.engine.ready.vocab_size, "tokens")
    return DetokenizeResponse(prompt=serving.tokenizer.decode(body.tokens, skip_special_tokens=False))
