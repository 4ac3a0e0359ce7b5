"""/v1/responses: what clients get."""

from __future__ import annotations

from typing import Any, Literal

from server.protocol.chat import TokenLogprob
from server.protocol.fields import ResponseModel
from server.protocol.usage import PromptTokensDetails, RequestMetrics

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class Whole(ResponseModel):
    """An object of which all fields are sent, null where there is nothing to say."""

    def model_post_init(self, context: Any) -> None:
        self.model_fields_set.update(type(self).model_fields)


class OutputText(Whole):
    """The text of a message."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[dict[str, Any]]
    logprobs: list[TokenLogprob] | None = None


class OutputMessage(Whole):
    """The answer, as an item of the output."""

    type: Literal["message"] = "message"
    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class ReasoningText(Whole):
    """Thoughts before the answer."""

    type: Literal["reasoning_text"] = "reasoning_text"
    text: str


class ReasoningItem(Whole):
    """The thoughts, as an item of the output."""

    type: Literal["reasoning"] = "reasoning"
    id: str
    status: ItemStatus
    summary: list[dict[str, Any]]
    content: list[ReasoningText]


class FunctionCallItem(Whole):
    """A call of one of the request's functions, as an item of the output; `arguments` is JSON text."""

    type: Literal["function_call"] = "function_call"
    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


OutputItem = OutputMessage | ReasoningItem | FunctionCallItem


class OutputTokensDetails(Whole):
    """`reasoning_tokens` of the output were thoughts."""

    reasoning_tokens: int = 0


class ResponseUsage(Whole):
    """Token counts of a response."""

    input_tokens: int
    input_tokens_details: PromptTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseFailure(Whole):
    """Why a response failed."""

    code: str
    message: str


class Incomplete(Whole):
    """What cut a response short."""

    reason: Literal["max_output_tokens"]


class Response(Whole):
    """A response, finished or not, with the settings it was made with."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    background: bool
    error: ResponseFailure | None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: dict[str, Any]
    service_tier: str
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: str
    usage: ResponseUsage | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    metrics: RequestMetrics | None = None


class ResponseEvent(ResponseModel):
    """One event of a streamed response; which fields there are depends on its type."""

    type: str
    sequence_number: int
    response: Response | None = None
    output_index: int | None = None
    content_index: int | None = None
    item_id: str | None = None
    item: OutputItem | None = None
    part: OutputText | ReasoningText | None = None
    delta: str | None = None
    text: str | None = None
    arguments: str | None = None
    logprobs: list[TokenLogprob] | None = None


class InputItems(Whole):
    """The items a response was asked with."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(Whole):
    """A response that is no longer stored."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool
