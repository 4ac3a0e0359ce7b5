"""Requests that cannot be served, each with the status and the `param` of its answer."""

from __future__ import annotations

from typing import Any, NamedTuple

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


class Bad(NamedTuple):
    """POST `body` to `path`: expect `status`, and `param` in the error."""

    path: str
    body: Any
    param: str | None
    status: int = 400

    def __str__(self) -> str:
        return f"{self.path} {self.body}"[:80]


def completion(param: str | None, **fields: Any) -> Bad:
    return Bad(COMPLETIONS, {"prompt": "x", **fields}, param)


def chat(param: str | None, **fields: Any) -> Bad:
    return Bad(CHAT, {"messages": [{"role": "user", "content": "x"}], **fields}, param)


def message(param: str | None, **fields: Any) -> Bad:
    return Bad(CHAT, {"messages": [fields]}, param)


USER = {"role": "user", "content": "x"}

PROMPTS = [
    Bad(COMPLETIONS, {}, "prompt"),
    Bad(COMPLETIONS, [], None),
    Bad(COMPLETIONS, "text", None),
    Bad(COMPLETIONS, 5, None),
    Bad(COMPLETIONS, None, None),
    *(
        completion("prompt", prompt=prompt)
        for prompt in (
            None,
            "",
            [],
            [""],
            [[]],
            ["x", ""],
            ["x", 5],
            [5, "x"],
            [5, [6]],
            [True],
            [1.5],
            [[1], [2.5]],
            {"text": "x"},
            7,
            [-1],
            [1024],
            [5, 10**6],
            [[5], [2**70]],
            [5] * 256,
            [5] * 300,
            "word " * 400,
            ["x", "word " * 400],
            "\ud800",
        )
    ),
]

LIMITS = [
    completion("max_tokens", max_tokens=-1),
    completion("max_tokens", max_tokens=0),
    completion("max_tokens", max_tokens=256),
    completion("max_tokens", max_tokens=10**9),
    completion("max_tokens", max_tokens=10**30),
    completion("max_tokens", max_tokens="5"),
    completion("max_tokens", max_tokens=1.5),
    completion("max_tokens", max_tokens=True),
    completion("max_tokens", prompt=[5] * 250, max_tokens=7),
    completion("min_tokens", min_tokens=-1),
    completion("min_tokens", min_tokens=17),
    completion("min_tokens", min_tokens=9, max_tokens=8),
    completion("truncate_prompt_tokens", truncate_prompt_tokens=-2),
    completion("truncate_prompt_tokens", truncate_prompt_tokens=0),
    completion("truncate_prompt_tokens", truncate_prompt_tokens=2**40),
    completion("n", n=0),
    completion("n", n=-1),
    completion("n", n=129),
    completion("n", n="2"),
    completion("n", prompt=["x"] * 100, n=100),
    completion("best_of", best_of=0),
    completion("best_of", best_of=3),
    completion("best_of", n=3, best_of=2),
]

SAMPLING = [
    completion("temperature", temperature=-0.1),
    completion("temperature", temperature=101),
    completion("temperature", temperature="hot"),
    completion("temperature", temperature=[1]),
    completion("top_p", top_p=0),
    completion("top_p", top_p=1.01),
    completion("top_p", top_p=-1),
    completion("top_k", top_k=-2),
    completion("top_k", top_k=1.5),
    completion("top_k", top_k=2**31),
    completion("min_p", min_p=-0.1),
    completion("min_p", min_p=1.1),
    completion("repetition_penalty", repetition_penalty=0),
    completion("repetition_penalty", repetition_penalty=-1),
    completion("presence_penalty", presence_penalty=2.1),
    completion("presence_penalty", presence_penalty=-2.1),
    completion("frequency_penalty", frequency_penalty=3),
    completion("frequency_penalty", frequency_penalty="high"),
    completion("seed", seed=2**64),
    completion("seed", seed=-(2**63) - 1),
    completion("seed", seed=1.5),
    completion("seed", seed="abc"),
    completion("logit_bias", logit_bias={"1024": 1}),
    completion("logit_bias", logit_bias={"-1": 1}),
    completion("logit_bias", logit_bias={"def": 1}),
    completion("logit_bias", logit_bias={"99999999999": 1}),
    completion("logit_bias", logit_bias={"5": 101}),
    completion("logit_bias", logit_bias={"5": -101}),
    completion("logit_bias", logit_bias={"5": "much"}),
    completion("logit_bias", logit_bias=[5]),
    completion("allowed_token_ids", allowed_token_ids=[]),
    completion("allowed_token_ids", allowed_token_ids=[1024]),
    completion("allowed_token_ids", allowed_token_ids=[-1]),
    completion("allowed_token_ids[0]", allowed_token_ids=["5"]),
    completion("bad_words", bad_words="def"),
    completion("bad_words", bad_words=["def", ""]),
    completion("bad_words", bad_words=["  "]),
    completion("bad_words", bad_words=["a" * 257]),
    completion("bad_words", bad_words=["a"] * 257),
    completion("bad_words", bad_words=["\ud800"]),
    completion("bad_words[0]", bad_words=[5]),
    completion("ignore_eos", ignore_eos="yes"),
    completion("priority", priority=2**31),
    completion("priority", priority="high"),
]

STOPS = [
    completion("stop", stop=""),
    completion("stop", stop=["a", ""]),
    completion("stop", stop=5),
    completion("stop", stop=[5]),
    completion("stop", stop={"a": 1}),
    completion("stop", stop="a" * 1025),
    completion("stop", stop=["a"] * 65),
    completion("stop_token_ids", stop_token_ids=[1024]),
    completion("stop_token_ids", stop_token_ids=[-1]),
    completion("stop_token_ids", stop_token_ids=5),
    completion("stop_token_ids[1]", stop_token_ids=[5, None]),
    completion("include_stop_str_in_output", include_stop_str_in_output=1),
]

RETURNS = [
    completion("logprobs", logprobs=21),
    completion("logprobs", logprobs=-1),
    completion("logprobs", logprobs=True),
    completion("logprobs", logprobs="all"),
    completion("prompt_logprobs", prompt_logprobs=21),
    completion("prompt_logprobs", prompt_logprobs=-1),
    completion("echo", echo="yes"),
    completion("stream", stream="yes"),
    completion("stream_options", stream_options={"include_usage": True}),
    completion("stream_options", stream=True, stream_options=5),
    completion("stream_options.include_usage", stream=True, stream_options={"include_usage": 2}),
    completion("stream_options.include_steps", stream=True, stream_options={"include_steps": 1}),
    completion("stream_options.surprise", stream=True, stream_options={"surprise": True}),
    completion("suffix", suffix="return"),
    completion("suffix", suffix=5),
    completion("suffix", suffix="\ud800"),
    completion("echo", suffix="return", echo=True),
    completion("truncate_prompt_tokens", suffix="return", truncate_prompt_tokens=5),
    completion("request_id", request_id=""),
    completion("request_id", request_id="a b"),
    completion("request_id", request_id="a\r\nX-Injected: 1"),
    completion("request_id", request_id="x" * 257),
    completion("user", user=5),
    completion("model", model=5),
    Bad(COMPLETIONS, {"prompt": "x", "model": "gpt-4"}, "model", 404),
    Bad(CHAT, {"messages": [USER], "model": "gpt-4"}, "model", 404),
    Bad("/tokenize", {"prompt": "x", "model": "gpt-4"}, "model", 404),
]


def tool(name: Any = "f", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


BAD_TOOLS: list[tuple[str, Any]] = [
    ("", "f"),
    ("[0]", ["f"]),
    ("[0].type", [{"function": {"name": "f"}}]),
    ("[0].type", [{"type": "retrieval", "function": {"name": "f"}}]),
    ("[0].function", [{"type": "function"}]),
    ("[0].function.name", [{"type": "function", "function": {}}]),
    ("[0].function.name", [tool(5)]),
    ("[0].function.name", [tool("")]),
    ("[1].function.name", [tool(), tool("two words")]),
    ("[1].function.name", [tool(), tool("f" * 65)]),
    ("[1].function.name", [tool(), tool()]),
    ("[0].function.parameters", [tool(parameters="x")]),
    ("[0].function.parameters", [tool(parameters={"type": "string"})]),
    ("[0].function.parameters", [tool(parameters={"type": "object", "properties": []})]),
    ("[1].function.parameters", [tool(), tool("g", parameters={"properties": {"a": {"type": "text"}}})]),
    ("[0].function.parameters", [tool(parameters={"properties": {"a": {"minimum": float("nan")}}})]),
    ("", [tool(f"f{number}") for number in range(129)]),
    ("", [tool(description="x" * 300_000)]),
    ("", [tool(parameters={"description": "x" * 300_000})]),
]

CHATS = [
    Bad(CHAT, {}, "messages"),
    Bad(CHAT, {"messages": []}, "messages"),
    Bad(CHAT, {"messages": "hi"}, "messages"),
    Bad(CHAT, {"messages": ["hi"]}, "messages[0]"),
    Bad(CHAT, {"messages": None}, "messages"),
    Bad(CHAT, {"messages": [USER, {"role": "user", "content": 5}]}, "messages[1].content"),
    Bad(CHAT, {"messages": [{"role": "user", "content": "word " * 400}]}, "messages"),
    Bad(CHAT, {"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),
    message("messages[0].role"),
    message("messages[0].role", content="x"),
    message("messages[0].role", role="robot", content="x"),
    message("messages[0].role", role=5, content="x"),
    message("messages[0].content", role="user", content=[{"type": "text"}]),
    message("messages[0].content", role="user", content=["x"]),
    message("messages[0].content", role="user", content=[{"type": "image_url", "image_url": {"url": "x"}}]),
    chat("max_tokens", max_tokens=0),
    chat("max_tokens", max_tokens=256),
    chat("max_completion_tokens", max_completion_tokens=0),
    chat("max_completion_tokens", max_completion_tokens=256),
    chat("max_completion_tokens", max_completion_tokens="5"),
    chat("logprobs", logprobs=5),
    chat("top_logprobs", top_logprobs=5),
    chat("top_logprobs", logprobs=True, top_logprobs=21),
    chat("top_logprobs", logprobs=True, top_logprobs=-1),
    chat("prompt_logprobs", stream=True, prompt_logprobs=1),
    *(chat(f"tools{param}", tools=tools, tool_choice="required") for param, tools in BAD_TOOLS),
    chat("tool_choice", tools=[tool()]),
    chat("tool_choice", tools=[tool()], tool_choice="auto"),
    chat("tool_choice", tools=[tool()], tool_choice="any"),
    chat("tool_choice", tools=[tool()], tool_choice=5),
    chat("tool_choice", tools=[tool()], tool_choice={"type": "function"}),
    chat("tool_choice", tools=[tool()], tool_choice={"type": "function", "function": {"name": "g"}}),
    chat("tool_choice", tools=[tool()], tool_choice="required", response_format={"type": "json_object"}),
    chat("tools", tools=[tool(strict=True, parameters={"not": {}})], tool_choice="required"),
    chat("tool_choice", tool_choice="auto"),
    chat("tool_choice", tool_choice="required"),
    chat("tool_choice", tools=[], tool_choice={"type": "function", "function": {"name": "f"}}),
    chat("parallel_tool_calls", parallel_tool_calls="no"),
    chat("include_reasoning", include_reasoning=1),
    chat("chat_template_kwargs", chat_template_kwargs={"tools": []}),
    *(
        Bad(CHAT, {"messages": [USER, {"role": "assistant", "tool_calls": [call]}]}, f"messages[1].tool_calls{param}")
        for param, call in (
            ("[0]", "f"),
            ("[0].function", {"id": "a", "type": "function"}),
            ("[0].function.name", {"id": "a", "type": "function", "function": {"arguments": "{}"}}),
            ("[0].function.arguments", {"id": "a", "function": {"name": "f", "arguments": {}}}),
            ("", {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}),
            ("", {"id": "a", "type": "function", "function": {"name": "f", "arguments": "[]"}}),
        )
    ),
    chat("chat_template", chat_template="{{ messages }}"),
    chat("chat_template_kwargs", chat_template_kwargs=[]),
    chat("chat_template_kwargs", chat_template_kwargs={"messages": []}),
    chat("continue_final_message", continue_final_message=True, add_generation_prompt=True),
    Bad(CHAT, {"messages": [{"role": "user", "content": ""}], "continue_final_message": True}, "messages"),
    chat("temperature", temperature=-1),
    chat("stop", stop=""),
    chat("n", n=0),
]

NAMED, OUTPUTS = "response_format.json_schema", "structured_outputs"


def named(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


FORMS = [
    chat("response_format", response_format="json_object"),
    chat("response_format.type", response_format={"type": "xml"}),
    chat("response_format.type", response_format={}),
    chat(NAMED, response_format={"type": "json_schema"}),
    chat(f"{NAMED}.schema", response_format={"type": "json_schema", "json_schema": {"name": "a"}}),
    chat(f"{NAMED}.schema", response_format=named("text")),
    chat(f"{NAMED}.schema", response_format=named({"type": "nothing"})),
    chat(f"{NAMED}.schema", response_format=named(False)),
    completion(f"{NAMED}.schema", response_format=named({"enum": []})),
    completion(f"{NAMED}.schema", response_format=named({"$ref": "https://example.com/schema.json"})),
    completion(f"{NAMED}.schema", response_format=named({"$ref": "#"})),
    completion(f"{NAMED}.schema", response_format=named({"not": {}})),
    completion(f"{NAMED}.schema", response_format=named({"type": "string", "pattern": "("})),
    completion(f"{NAMED}.schema", response_format=named({"title": "\ud800"})),
    completion(OUTPUTS, structured_outputs={}),
    completion(OUTPUTS, structured_outputs=[]),
    completion(OUTPUTS, structured_outputs={"json_object": False}),
    completion(f"{OUTPUTS}.xml", structured_outputs={"xml": "x"}),
    completion(f"{OUTPUTS}.json", structured_outputs={"json": "{"}),
    completion(f"{OUTPUTS}.json", structured_outputs={"json": 5}),
    completion(f"{OUTPUTS}.json", structured_outputs={"json": "[]"}),
    completion(f"{OUTPUTS}.json", structured_outputs={"json": {"type": 5}}),
    completion(f"{OUTPUTS}.json_object", structured_outputs={"json_object": "yes"}),
    completion(f"{OUTPUTS}.regex", structured_outputs={"regex": "("}),
    completion(f"{OUTPUTS}.regex", structured_outputs={"regex": "(?=a)b"}),
    completion(f"{OUTPUTS}.regex", structured_outputs={"regex": "a" * 300_000}),
    completion(f"{OUTPUTS}.regex", structured_outputs={"regex": "\ud800"}),
    completion(f"{OUTPUTS}.regex", structured_outputs={"regex": 5}),
    completion(f"{OUTPUTS}.choice", structured_outputs={"choice": []}),
    completion(f"{OUTPUTS}.choice", structured_outputs={"choice": [""]}),
    completion(f"{OUTPUTS}.choice", structured_outputs={"choice": "yes"}),
    completion(f"{OUTPUTS}.choice[1]", structured_outputs={"choice": ["yes", 1]}),
    completion(f"{OUTPUTS}.choice", structured_outputs={"choice": ["x"] * 2000}),
    completion(f"{OUTPUTS}.grammar", structured_outputs={"grammar": ""}),
    completion(f"{OUTPUTS}.grammar", structured_outputs={"grammar": "start: nothing"}),
    completion(f"{OUTPUTS}.grammar", structured_outputs={"grammar": "start: <|nothing|>"}),
    completion(f"{OUTPUTS}.grammar", structured_outputs={"grammar": "root ::= ((("}),
    completion("guided_json", guided_json="{"),
    completion("guided_json", guided_json=5),
    completion("guided_regex", guided_regex="("),
    completion("guided_choice", guided_choice=[]),
    completion("guided_grammar", guided_grammar="start: nothing"),
    completion("guided_regex", guided_regex="a", structured_outputs={"regex": "a"}),
    completion(f"{OUTPUTS}.regex", structured_outputs={"regex": "a", "json_object": True}),
    chat(f"{OUTPUTS}.choice", response_format={"type": "json_object"}, structured_outputs={"choice": ["a"]}),
]

TOKENS = [
    Bad("/tokenize", {}, "prompt"),
    Bad("/tokenize", {"prompt": "x", "messages": [USER]}, "prompt"),
    Bad("/tokenize", {"prompt": 5}, "prompt"),
    Bad("/tokenize", {"messages": []}, "messages"),
    Bad("/tokenize", {"messages": [USER], "chat_template": "x"}, "chat_template"),
    Bad("/detokenize", {}, "tokens"),
    Bad("/detokenize", {"tokens": "x"}, "tokens"),
    Bad("/detokenize", {"tokens": [1024]}, "tokens"),
    Bad("/detokenize", {"tokens": [-1]}, "tokens"),
    Bad("/detokenize", {"tokens": [True]}, "tokens[0]"),
]

BAD_REQUESTS = [*PROMPTS, *LIMITS, *SAMPLING, *STOPS, *RETURNS, *CHATS, *FORMS, *TOKENS]
