"""/v1/responses: what clients send."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from server.errors import bad_request
from server.protocol.fields import RequestPart, one_of
from server.protocol.sampling import SamplingRequest

LOGPROBS = "message.output_text.logprobs"
MAX_METADATA = 16
MAX_LOGPROBS = 20


class ContentPart(RequestPart):
    """A text part of an item."""

    type: Literal["input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal"]
    text: str = ""
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    logprobs: list[dict[str, Any]] | None = None


Content = Annotated[str | list[ContentPart] | None, one_of("a string or a list of text parts")]


class InputItem(RequestPart):
    """A message, a function call, its result, or reasoning of an earlier answer; `type` says which."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    id: str | None = None
    status: str | None = None
    phase: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Content = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: Content = None
    summary: list[ContentPart] | None = None
    encrypted_content: str | None = None


def _as_items(given: Any) -> Any:
    """A string is one user message."""
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


class TextFormat(RequestPart):
    """The shape the answer must have."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextSettings(RequestPart):
    """How the answer's text is to be."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(RequestPart):
    """How much to think first; `effort` goes to the chat template as reasoning_effort."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class FunctionTool(RequestPart):
    """A function that may be called."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def for_chat(self) -> dict[str, Any]:
        """The tool as chat requests name it."""
        return {"type": self.type, "function": self.model_dump(exclude={"type"}, exclude_none=True)}


class FunctionChoice(RequestPart):
    """The function that has to be called."""

    type: Literal["function"]
    name: str


MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class ResponsesRequest(SamplingRequest):
    """A request for a response: OpenAI's fields, and the sampling fields of the other endpoints."""

    input: Annotated[list[InputItem], BeforeValidator(_as_items, json_schema_input_type=str | list[InputItem])]
    instructions: str | None = None
    max_output_tokens: int | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    include: list[str] | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    metadata: dict[MetadataKey, MetadataValue] | None = Field(None, max_length=MAX_METADATA)
    text: TextSettings | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | FunctionChoice | None, one_of("none, auto, required or a function's name")
    ] = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt: dict[str, Any] | None = None
    conversation: str | dict[str, Any] | None = None

    @property
    def wants_logprobs(self) -> bool:
        return LOGPROBS in (self.include or ())

    @property
    def stored(self) -> bool:
        return self.store is not False

    def check_writable(self) -> None:
        """Raises a 400 for a field that cannot be written back as JSON, as a stored response has to be."""
        for field in sorted(self.model_fields_set & type(self).model_fields.keys()):
            try:
                self.model_dump_json(include={field})
            except (ValueError, RecursionError):
                message = f"{field} has half a surrogate pair in it or is nested too deeply."
                raise bad_request(message, field) from None

    def refuse_unsupported(self) -> None:
        """Fields that would change the answer, and that cannot be honoured here, are a 400 and never ignored."""
        super().refuse_unsupported()
        if not self.input:
            raise bad_request("input is empty; give text or at least one item.", "input")
        if self.choices != 1:
            raise bad_request("A response has one answer; leave out n or ask /v1/chat/completions.", "n")
        for field in ("prompt", "conversation"):
            if getattr(self, field) is not None:
                raise bad_request(f"{field} is not supported; send everything in input and instructions.", field)
        for field in ("prompt_logprobs", "return_token_ids"):
            if getattr(self, field):
                raise bad_request(f"{field} is not part of a response; ask /v1/chat/completions.", field)
        options = self.stream_options
        if options is not None and (options.include_usage or options.continuous_usage_stats):
            raise bad_request("A response's last event always has its usage; leave it out.", "stream_options")
        if options is not None and options.include_steps:
            raise bad_request("Steps are not part of a response; ask /v1/chat/completions.", "stream_options")
        if self.background and not self.stored:
            raise bad_request("A background response can only be fetched if it is stored.", "store")
        if self.top_logprobs and not self.wants_logprobs:
            raise bad_request(f"top_logprobs needs {LOGPROBS} in include.", "top_logprobs")
        for wanted in self.include or ():
            if wanted not in (LOGPROBS, "reasoning.encrypted_content"):
                raise bad_request(f"include cannot name {wanted[:60]!r}; {LOGPROBS} is what there is.", "include")
