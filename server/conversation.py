"""A conversation as the chat template writes it."""

from __future__ import annotations

from typing import Any, Protocol

from models.chat_template import ChatTemplate
from models.errors import ModelError, PromptError
from models.tokenizer import Tokenizer
from server.errors import bad_request
from server.prompts import Prompt, encode
from server.protocol.chat import ChatRequest, Message
from server.protocol.tools import Tool
from server.tools.choice import ToolUse
from server.tools.notice import with_tools

#: what a template is given anyway, and so no request may set
TAKEN = {"messages", "add_generation_prompt", "self", "tools"}


class Conversation(Protocol):
    """The fields of a request that decide what the template writes."""

    messages: list[Message]
    chat_template: str | None
    chat_template_kwargs: dict[str, Any] | None
    add_generation_prompt: bool | None
    continue_final_message: bool | None
    tools: list[Tool] | None


async def chat_prompt(request: ChatRequest, tokenizer: Tokenizer, use: ToolUse | None) -> Prompt:
    """The prompt of a chat request. Raises a 400 where the template does not take it."""
    text = chat_text(request, tokenizer, use)
    token_ids = await encode(tokenizer, text, bool(request.add_special_tokens), "messages")
    if not token_ids:
        raise bad_request("The chat template made an empty prompt of these messages.", "messages")
    return Prompt(token_ids)


def chat_text(request: Conversation, tokenizer: Tokenizer, use: ToolUse | None = None) -> str:
    """The conversation as text. Raises a 400 where there is no template or it refuses the messages.

    Tools are shown by the template; where it does not know them, a system message describes those that `use` allows.
    """
    messages = _messages(request.messages)
    variables = dict(request.chat_template_kwargs or {})
    if taken := TAKEN & variables.keys():
        raise bad_request(f"chat_template_kwargs cannot set {min(taken)}.", "chat_template_kwargs")
    opens = _opens_turn(request)
    try:
        template = _template(request, tokenizer)
        if template.knows("tools"):
            variables["tools"] = [tool.for_template() for tool in request.tools or []] or None
        elif use is not None:
            messages = with_tools(messages, use)
        text = template.render(messages, opens, variables)
    except ModelError as error:
        raise bad_request(str(error), "messages" if request.chat_template is None else "chat_template") from None
    return _open_ended(text, str(messages[-1]["content"])) if request.continue_final_message else text


def _template(request: Conversation, tokenizer: Tokenizer) -> ChatTemplate:
    """Raises ModelError where there is none, or the request's own is no template."""
    if request.chat_template is not None:
        return ChatTemplate(request.chat_template, tokenizer.special_tokens)
    template = tokenizer.tool_template if request.tools else tokenizer.chat_template
    if template is None:
        raise PromptError("This model has no chat template, so it takes plain prompts only.")
    return template


def _messages(messages: list[Message]) -> list[dict[str, Any]]:
    """Raises a 400 for calls whose arguments are no JSON object."""
    given = []
    for index, message in enumerate(messages):
        try:
            given.append(message.for_template())
        except (ValueError, RecursionError):
            raise bad_request(
                "The arguments of a tool call must be a JSON object as text.", f"messages[{index}].tool_calls"
            ) from None
    return given


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
