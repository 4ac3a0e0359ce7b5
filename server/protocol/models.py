"""/v1/models, /tokenize and /detokenize, in and out."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, StrictInt

from server.protocol.chat import Message
from server.protocol.fields import RequestModel, ResponseModel
from server.protocol.tools import Tool


class Abilities(ResponseModel):
    """How a model decodes and talks: `chat` if it has a chat template, `preferred` what it is best asked for."""

    decoding: str
    draft_length: int
    predrafts: str
    chat: bool
    preferred: Literal["chat", "completion"]


class ModelCard(ResponseModel):
    """One served model; `root` is the folder or name its weights came from."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    max_model_len: int
    tidar: Abilities


class ModelList(ResponseModel):
    """All served models."""

    object: Literal["list"]
    data: list[ModelCard]


class TokenizeRequest(RequestModel):
    """Text, or a conversation for the chat template, to be tokenised: exactly one of prompt and messages."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] = Field([], min_length=1)
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    tools: list[Tool] | None = None
    return_token_strs: bool | None = None


class TokenizeResponse(ResponseModel):
    """The tokens, and how many of them the model's context holds."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(RequestModel):
    """Token ids to be turned into text."""

    model: str | None = None
    tokens: list[StrictInt]


class DetokenizeResponse(ResponseModel):
    """The text."""

    prompt: str


class Version(ResponseModel):
    """The version of this server."""

    version: str


class Load(ResponseModel):
    """Sequences being served or waiting."""

    server_load: int


class Health(ResponseModel):
    """ok, or one sentence that says what is wrong."""

    status: str
