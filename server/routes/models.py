"""GET /v1/models and /version."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request

from server.protocol.models import Abilities, ModelCard, ModelList, Version
from server.serving import Serving
from server.settings import VERSION
from server.shipped import shipped_model

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(request: Request) -> ModelList:
    """The models served here."""
    serving = Serving.of(request)
    return ModelList(object="list", data=[_card(serving, serving.model_name)])


@router.get("/v1/models/{name:path}")
async def show_model(name: str, request: Request) -> ModelCard:
    """One model, by any name it is served under."""
    serving = Serving.of(request)
    return _card(serving, serving.check_model(name))


@router.get("/version")
async def show_version() -> Version:
    """The server's version."""
    return Version(version=VERSION)


def _card(serving: Serving, name: str) -> ModelCard:
    return ModelCard(
        id=name,
        object="model",
        created=serving.started,
        owned_by="tidar",
        root=serving.engine.config.model,
        max_model_len=serving.engine.ready.max_model_len,
        tidar=_abilities(serving),
    )


def _abilities(serving: Serving) -> Abilities:
    """The shipped model has learnt code and hardly any talk, so it is best asked to go on from some."""
    ready = serving.engine.ready
    chats = serving.tokenizer.has_chat_template
    shipped = Path(serving.engine.config.model).resolve() == shipped_model()
    return Abilities(
        decoding=ready.decoding,
        draft_length=ready.draft_length,
        predrafts=ready.predrafts,
        chat=chats,
        preferred="chat" if chats and not shipped else "completion",
    )
