"""/v1/chat/completions, in and out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from engine.params import SamplingParams
from server.errors import bad_request
from server.protocol.completions import PromptLogprob
from server.protocol.fields import RequestPart, ResponseModel, one_of
from server.protocol.sampling import SamplingRequest
from server.protocol.steps import StepInfo
from server.protocol.tools import NamedTool, PastCall, Tool, ToolCall, ToolCallDelta
from server.protocol.usage import RequestMetrics, Usage


class TextPart(RequestPart):
    """A text part of a message's content."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class Message(RequestPart):
    """One turn. Fields beyond these go to the chat template as they are."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str | list[TextPart] | None, one_of("a string or a list of text parts")] = None
    name: str | None = None
    tool_calls: list[PastCall] | None = None
    tool_call_id: str | None = None

    def for_template(self) -> dict[str, Any]:
        """The message as chat templates expect it: text parts joined into one string, arguments of calls as objects.

        Raises ValueError where arguments are no JSON object.
        """
        message = self.model_dump(exclude_unset=True, exclude={"tool_calls"})
        if self.tool_calls:
            message["tool_calls"] = [call.for_template() for call in self.tool_calls]
        if isinstance(reasoning := message.get("reasoning"), str):
            message.setdefault("reasoning_content", reasoning)
        if isinstance(self.content, list):
            message["content"] = "".join(part.text for part in self.content)
        elif self.content is None:
            message["content"] = ""
        return message


class ChatRequest(SamplingRequest):
    """A chat completion request: OpenAI's fields and vLLM's extensions."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    add_special_tokens: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: Annotated[str | NamedTool | None, one_of("none, auto, required or a named function")] = None
    parallel_tool_calls: bool | None = None
    include_reasoning: bool | None = None

    @property
    def token_limit(self) -> tuple[str, int | None]:
        """The field that bounds the answer, and its value; max_completion_tokens is the newer name and wins."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return "max_tokens", self.max_tokens

    def params(self, max_tokens: int) -> SamplingParams:
        """Sampling settings; top_logprobs counts only where logprobs is true."""
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        return self.sampling_params(max_tokens=max_tokens, logprobs=logprobs, prompt_logprobs=self.prompt_logprobs)

    def refuse_unsupported(self) -> None:
        super().refuse_unsupported()
        if self.top_logprobs is not None and not self.logprobs:
            raise bad_request("top_logprobs needs logprobs to be true.", "top_logprobs")
        if self.prompt_logprobs is not None and self.stream:
            raise bad_request("prompt_logprobs are not streamed; leave out stream.", "prompt_logprobs")


class TopLogprob(ResponseModel):
    """One candidate at a position."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """The token that was chosen, and the most likely ones beside it."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(ResponseModel):
    """One entry per token of the answer."""

    content: list[TokenLogprob]


class AssistantMessage(ResponseModel):
    """The answer. The thoughts before it go by both names that clients know."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(ResponseModel):
    """One answer. `stop_reason` is the stop string or stop token id that ended it."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: str | None
    stop_reason: int | str | None = None
    token_ids: list[int] | None = None


class ChatResponse(ResponseModel):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage | None = None
    metrics: RequestMetrics | None = None
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = None
    prompt_token_ids: list[int] | None = None


class MessageDelta(ResponseModel):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(ResponseModel):
    """One choice's part of a chunk."""

    index: int
    delta: MessageDelta
    logprobs: ChatLogprobs | None
    finish_reason: str | None
    stop_reason: int | str | None = None
    token_ids: list[int] | None = None
    tidar: StepInfo | None = None


class ChatChunk(ResponseModel):
    """One chunk of a streamed chat completion."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    metrics: RequestMetrics | None = None
    prompt_token_ids: list[int] | None = None
