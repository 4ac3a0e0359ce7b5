"""A conversation as the chat template writes it."""

from __future__ import annotations

from typing import Any, Protocol

from models.chat_template import ChatTemplate
from models.errors import ModelError
from models.tokenizer import Tokenizer
from server.errors import bad_request
from server.prompts import Prompt, encode
from server.protocol.chat import ChatRequest, Message

#: what a template is given anyway, and so no request may set
TAKEN = {"messages", "add_generation_prompt", "self"}


class Conversation(Protocol):
    """The fields of a request that decide what the template writes."""

    messages: list[Message]
    chat_template: str | None
    chat_template_kwargs: dict[str, Any] | None
    add_generation_prompt: bool | None
    continue_final_message: bool | None


async def chat_prompt(request: ChatRequest, tokenizer: Tokenizer) -> Prompt:
    """The prompt of a chat request. Raises a 400 where the template does not take it."""
    text = chat_text(request, tokenizer)
    token_ids = await encode(tokenizer, text, bool(request.add_special_tokens), "messages")
    if not token_ids:
        raise bad_request("The chat template made an empty prompt of these messages.", "messages")
    return Prompt(token_ids)


def chat_text(request: Conversation, tokenizer: Tokenizer) -> str:
    """The conversation as text. Raises a 400 where there is no template or it refuses the messages."""
    messages = [message.for_template() for message in request.messages]
    variables = request.chat_template_kwargs or {}
    if taken := TAKEN & variables.keys():
        raise bad_request(f"chat_template_kwargs cannot set {min(taken)}.", "chat_template_kwargs")
    opens = _opens_turn(request)
    try:
        if request.chat_template is None:
            text = tokenizer.apply_chat_template(messages, opens, **variables)
        else:
            text = ChatTemplate(request.chat_template, tokenizer.special_tokens).render(messages, opens, variables)
    except ModelError as error:
        raise bad_request(str(error), "messages" if request.chat_template is None else "chat_template") from None
    return _open_ended(text, str(messages[-1]["content"])) if request.continue_final_message else text


def _opens_turn(request: Conversation) -> bool:
    """Whether the template opens the assistant's turn; not when the last message is to be continued."""
    if request.continue_final_message and request.add_generation_prompt:
        message = "continue_final_message and add_generation_prompt exclude each other."
        raise bad_request(message, "continue_final_message")
    if request.add_generation_prompt is None:
        return not request.continue_final_message
    return request.add_generation_prompt


def _open_ended(text: str, last: str) -> str:
    """The conversation up to the end of its last message, so that the answer goes on from there."""
    for ending in (last, last.strip()):
        at = text.rfind(ending)
        if ending and at >= 0:
            return text[: at + len(ending)]
    raise bad_request("The last message is empty or not in the prompt, so it cannot be continued.", "messages")
