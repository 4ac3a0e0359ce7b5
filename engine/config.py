"""Settings of one engine, under vLLM's flag names where the meaning is the same."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from engine.errors import EngineError
from engine.logs import LogFormat
from engine.strategies.registry import DECODINGS

Quantization = Literal["none", "int8", "int4"]
AttentionName = Literal["auto", "torch", "triton", "native"]
DenoiseOrder = Literal["confidence", "margin", "entropy", "left-to-right"]

#: an idle engine speaks every second
LEAST_TIMEOUT = 2.0


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an engine process is started with; lengths in tokens.

    `adapter` is the folder of a TiDAR adapter, which gives an AR model drafts.
    `predrafts` is how many pre-draft groups a window carries: "auto", "full", "none" or a number.
    `async_scheduling` launches each decode step before the one before it is read, with sampling and acceptance on the
    device; None does so on a GPU. `enforce_eager` runs these steps without CUDA graphs.
    `synthetic_acceptance` accepts drafts at random, for measuring speeds alone: what comes out is not the model's.
    `data_parallel_size` engines, each with all the other settings, stand behind one API; each has its model split over
    `tensor_parallel_size` processes.
    An engine process that says nothing for `engine_timeout` seconds (0: however long) is replaced.
    `denoise_threshold`, `denoise_steps` and `denoise_order` say which masks become tokens in a forward, where several
    of them denoise a block of draft_length masks; None is the scheme's own. `denoise_cache` lets the forwards of one
    block share the K/V of all before it, where the weights see everything in both directions: an approximation.
    `num_pages` None sizes the KV cache for max_num_seqs sequences within `kv_cache_memory` bytes, which
    None sets to one whole context's on a CPU, within 256 MiB and 1 GiB, and, on a GPU, to what is left of
    `gpu_memory_utilization` of its memory. `max_model_len` None is the model's own, or as much as that cache holds.
    `kv_cache_dtype` is what K and V are kept in (engine/dtypes.py).
    `lora` is a PEFT folder, merged into the weights as they are loaded; `draft_lora` is one that acts on drafting rows
    alone, so that it changes drafts and no token.
    `quantization` keeps the linear layers' weights in 8 or 4 bits (models/quantization.py).
    """

    model: str
    adapter: str | None = None
    decoding: str = "auto"
    draft_length: int | None = None
    draft_model: str | None = None
    draft_width: int = 1
    draft_nodes: int | None = None
    prompt_lookup_max: int = 4
    prompt_lookup_min: int = 2
    predrafts: str = "auto"
    denoise_threshold: float | None = None
    denoise_steps: int | None = None
    denoise_order: DenoiseOrder | None = None
    denoise_cache: bool = False
    max_model_len: int | None = None
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 1024
    page_size: int = 16
    num_pages: int | None = None
    kv_cache_memory: int | None = None
    kv_cache_dtype: str = "auto"
    gpu_memory_utilization: float = 0.9
    enable_prefix_caching: bool = True
    dtype: str = "auto"
    lora: str | None = None
    draft_lora: str | None = None
    quantization: Quantization = "none"
    device: str = "auto"
    attention_backend: AttentionName = "auto"
    seed: int = 0
    threads: int | None = None
    max_waiting: int = 1024
    engine_timeout: float = 60.0
    async_scheduling: bool | None = None
    enforce_eager: bool = False
    synthetic_acceptance: float | None = None
    data_parallel_size: int = 1
    tensor_parallel_size: int = 1
    log_format: LogFormat = "text"

    def check(self) -> None:
        """Refuse settings that cannot work together. Raises EngineError."""
        at_least_one = ("max_num_seqs", "max_num_batched_tokens", "page_size")
        for name in (*at_least_one, "data_parallel_size", "tensor_parallel_size"):
            if getattr(self, name) < 1:
                raise EngineError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}.")
        if self.engine_timeout and self.engine_timeout < LEAST_TIMEOUT:
            raise EngineError(f"--engine-timeout must be 0 or at least {LEAST_TIMEOUT:g}, not {self.engine_timeout:g}.")
        if self.draft_length is not None and not 1 <= self.draft_length <= 64:
            raise EngineError(f"--draft-length must lie between 1 and 64, not {self.draft_length}.")
        if self.tensor_parallel_size > 1 and (self.adapter is not None or self.draft_lora is not None):
            raise EngineError("--adapter and --draft-lora do not work with --tensor-parallel-size yet; leave one out.")
        if self.adapter is not None and self.draft_lora is not None:
            raise EngineError("--adapter and --draft-lora are two ways to draft; leave one of them out.")
        if not 1 <= self.draft_width <= 16 or not 1 <= (self.draft_nodes or 1) <= 256:
            raise EngineError("--draft-width must lie between 1 and 16, and --draft-nodes between 1 and 256.")
        if self.draft_width > 1 and self.tensor_parallel_size > 1:
            raise EngineError("--draft-width above 1 does not go with --tensor-parallel-size; leave one of them out.")
        if self.draft_width > 1 and self.decoding != "eagle3":
            raise EngineError("--draft-width is for trees of drafts, which --decoding eagle3 makes; leave it out.")
        if not 1 <= self.prompt_lookup_min <= self.prompt_lookup_max <= 16:
            raise EngineError("The lengths of n-grams to look up must lie between 1 and 16, the first the lower.")
        if self.decoding not in DECODINGS:
            raise EngineError(f"--decoding must be one of {', '.join(DECODINGS)}, not {self.decoding!r}.")
        if self.denoise_threshold is not None and not 0 <= self.denoise_threshold <= 1:
            raise EngineError(f"--denoise-threshold must lie in [0, 1], not {self.denoise_threshold:g}.")
        if self.denoise_steps is not None and self.denoise_steps < 1:
            raise EngineError(f"--denoise-steps must be at least 1, not {self.denoise_steps}.")
        if self.denoise_order is not None and self.denoise_order not in get_args(DenoiseOrder):
            raise EngineError(f"--denoise-order must be one of {', '.join(get_args(DenoiseOrder))}.")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise EngineError(f"--gpu-memory-utilization must lie in (0, 1], not {self.gpu_memory_utilization:g}.")
        rate = self.synthetic_acceptance
        if rate is not None and not (0 <= rate <= 1 and self.async_scheduling):
            raise EngineError("Synthetic acceptance must lie in [0, 1] and needs --async-scheduling.")
        if self.attention_backend not in get_args(AttentionName):
            names = ", ".join(get_args(AttentionName))
            raise EngineError(f"--attention-backend must be one of {names}, not {self.attention_backend!r}.")
        if self.tensor_parallel_size > 1 and self.async_scheduling:
            raise EngineError("--async-scheduling does not go with --tensor-parallel-size; leave one of them out.")
        if self.quantization not in ("none", "int8", "int4"):
            raise EngineError(f"--quantization must be none, int8 or int4, not {self.quantization!r}.")
        if self.tensor_parallel_size > 1 and self.quantization != "none":
            raise EngineError("--quantization does not go with --tensor-parallel-size; leave one of them out.")
        if self.predrafts not in ("auto", "full", "none") and not self.predrafts.isdigit():
            raise EngineError(f"--predrafts must be auto, full, none or a number, not {self.predrafts!r}.")
