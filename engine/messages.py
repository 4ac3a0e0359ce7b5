"""What the API process and the engine process say to each other; msgpack over ZeroMQ."""

from __future__ import annotations

import msgspec

from engine.params import SamplingParams


class Submit(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Generate one sequence. Lower `priority` runs first; `arrival_time` is time.monotonic() at the API's
    door, a clock that all processes of a machine share and nobody sets."""

    request_id: str
    prompt_token_ids: list[int]
    params: SamplingParams
    priority: int = 0
    arrival_time: float = 0.0


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Stop these sequences; each answers with a last output whose finish_reason is "abort"."""

    request_ids: list[str]


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Leave the engine loop."""


Command = Submit | Abort | Shutdown


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """Log-probabilities at one position: the token's own, its rank (1 = best), and the most likely ones, best first."""

    token_id: int
    logprob: float
    rank: int
    top_ids: list[int]
    top_logprobs: list[float]


class RequestTimes(msgspec.Struct, frozen=True, array_like=True):
    """A finished request's life, in time.monotonic() seconds; zero for what never happened."""

    arrival: float
    scheduled: float
    first_token: float
    finished: float


class RequestSteps(msgspec.Struct, frozen=True, array_like=True):
    """How a request was decoded: decode forwards, tokens they committed, steps per acceptance length 1..k.

    `draft_tokens` are the drafts beside d_0 that its forwards verified.
    """

    forwards: int
    committed: int
    acceptance_lengths: list[int]
    cached_tokens: int
    preemptions: int
    draft_tokens: int = 0


class Forward(msgspec.Struct, frozen=True, array_like=True):
    """What one forward gave a sequence: it verified `drafted` drafts and added `committed` tokens.

    The first `accepted` of these were drafts, the one after them, if any, is the AR row's own. `decodes` is false for
    the forward that ends a prompt, or computes anew what a preemption took. A `denoised` one verified nothing: its
    tokens were decided on mask rows, in this forward or before, and there may be none of them.
    """

    committed: int
    accepted: int
    drafted: int
    decodes: bool
    denoised: bool = False


class Output(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """New tokens of one sequence. The last one carries `finish_reason`: stop, length, abort or error.

    `stop_token_id` is the id that ended the sequence (it is the last of token_ids). `prompt_logprobs` comes once, with
    the first token: one entry per prompt token, None for the first. `forwards` brought the token_ids, in order.
    """

    request_id: str
    token_ids: list[int]
    forwards: list[Forward] = []
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    finish_reason: str | None = None
    stop_token_id: int | None = None
    error: str | None = None
    error_param: str | None = None
    times: RequestTimes | None = None
    steps: RequestSteps | None = None


class EngineStats(msgspec.Struct, tag=True, kw_only=True):
    """A snapshot of one engine: gauges, and counters since its start (tokens unless named otherwise).

    `step_times` counts steps by kind and by engine.bounds.STEP_SECONDS, `iteration_tokens` steps by
    engine.bounds.ITERATION_TOKENS, `choices` steps by draft length, then by pre-draft groups. `rows` are those of all
    forwards.
    """

    running: int = 0
    waiting: int = 0
    pages_total: int = 0
    pages_used: int = 0
    tokens_per_second: float = 0.0
    expected_tokens_per_second: float = 0.0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0
    preemptions: int = 0
    steps: int = 0
    step_seconds: float = 0.0
    decode_forwards: int = 0
    committed_tokens: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    accepted_per_position: list[int] = []
    acceptance_lengths: list[int] = []
    cold_steps: int = 0
    rows: int = 0
    forwards_by_kind: dict[str, int] = {}
    seconds_by_kind: dict[str, float] = {}
    step_times: dict[str, list[int]] = {}
    iteration_tokens: list[int] = []
    choices: dict[int, dict[int, int]] = {}
    draft_length: int = 1
    predraft_groups: int = 0
    last_step_time: float = 0.0
    resident_bytes: int = 0


class Ready(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The engine can serve: what the API needs to know of it. Lengths in tokens, sizes in bytes."""

    max_model_len: int
    vocab_size: int
    eos_token_ids: list[int]
    decoding: str
    draft_length: int
    predrafts: str
    dtype: str
    cache_dtype: str
    device: str
    kernels: str
    num_pages: int
    page_size: int
    weight_bytes: int
    kv_cache_bytes: int
    forward_bytes: int
    load_seconds: float
    graph_bytes: int = 0


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The engine cannot start, or has died; one sentence."""

    message: str


class Outputs(msgspec.Struct, frozen=True, tag=True):
    """What one step published."""

    outputs: list[Output]


Event = Outputs | EngineStats | Ready | Failed
