"""Flags that several commands share; vLLM's names where the meaning is the same."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Annotated

import typer

from engine.strategies.registry import DECODINGS

ENGINE = "Engine"


def one_of(names: Collection[str]) -> Callable[[str | None], str | None]:
    """A check that a flag, where given, is one of these."""

    def check(given: str | None) -> str | None:
        if given is not None and given not in names:
            raise typer.BadParameter(f"{given!r} is none of {', '.join(names)}.")
        return given

    return check


class QuantizationName(StrEnum):
    """How linear layers keep their weights."""

    NONE = "none"
    INT8 = "int8"
    INT4 = "int4"


class DenoiseOrder(StrEnum):
    """Which masks become tokens first."""

    CONFIDENCE = "confidence"
    MARGIN = "margin"
    ENTROPY = "entropy"
    LEFT_TO_RIGHT = "left-to-right"


class AttentionName(StrEnum):
    """Which kernels attend."""

    AUTO = "auto"
    TORCH = "torch"
    TRITON = "triton"
    NATIVE = "native"


class LogFormatName(StrEnum):
    """What log lines look like."""

    TEXT = "text"
    JSON = "json"


Model = Annotated[
    str | None,
    typer.Argument(
        help="Folder, GGUF file, hub id (owner/name) or pulled name; without one, the model shipped with TiDAR Serve."
    ),
]
ModelFlag = Annotated[
    str | None, typer.Option("--model", help="Folder, GGUF file, hub id or pulled name; the shipped model if left out.")
]
DecodingFlag = Annotated[
    str,
    typer.Option(
        "--decoding",
        help=f"{', '.join(DECODINGS)}; auto drafts where the model can.",
        callback=one_of(DECODINGS),
        rich_help_panel=ENGINE,
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        help="Folder of a TiDAR adapter for an AR model; a model with a shipped one takes it unless this is none.",
        rich_help_panel=ENGINE,
    ),
]
DraftLength = Annotated[
    int | None,
    typer.Option(
        "--draft-length", help="Tokens drafted per step, k; the model's own if left out.", rich_help_panel=ENGINE
    ),
]
DraftModel = Annotated[
    str | None,
    typer.Option(
        "--draft-model",
        help="What drafts under --decoding draft-model or eagle3: a folder, hub id or pulled name.",
        rich_help_panel=ENGINE,
    ),
]
DraftWidth = Annotated[
    int,
    typer.Option(
        "--draft-width",
        help="Nodes of an EAGLE-3 tree to look behind at each depth; 1 is a chain.",
        rich_help_panel=ENGINE,
    ),
]
DraftNodes = Annotated[
    int | None,
    typer.Option("--draft-nodes", help="Drafts of a tree per step; width times k if left out.", rich_help_panel=ENGINE),
]
SpeculativeConfig = Annotated[
    str | None,
    typer.Option(
        "--speculative-config",
        help='vLLM\'s JSON for the same: {"method": "ngram" | "draft_model" | "eagle3", ...}.',
        rich_help_panel=ENGINE,
    ),
]
Predrafts = Annotated[
    str, typer.Option("--predrafts", help="Pre-draft groups per window: auto, full, none or N.", rich_help_panel=ENGINE)
]
DenoiseThreshold = Annotated[
    float | None,
    typer.Option(
        "--denoise-threshold",
        help="Probability above which a denoising forward turns masks into tokens.",
        rich_help_panel=ENGINE,
    ),
]
DenoiseSteps = Annotated[
    int | None, typer.Option("--denoise-steps", help="Denoising forwards per block.", rich_help_panel=ENGINE)
]
DenoiseOrderFlag = Annotated[
    DenoiseOrder | None,
    typer.Option("--denoise-order", help="Which masks go first; the scheme's own if left out.", rich_help_panel=ENGINE),
]
DenoiseCache = Annotated[
    bool,
    typer.Option(
        "--denoise-cache",
        help="Compute what lies before a block once per block, with --decoding llada; an approximation.",
        rich_help_panel=ENGINE,
    ),
]
MaxModelLen = Annotated[
    int | None,
    typer.Option(
        "--max-model-len", help="Context in tokens; the model's own, if it fits, if left out.", rich_help_panel=ENGINE
    ),
]
MaxNumSeqs = Annotated[int, typer.Option("--max-num-seqs", help="Sequences that run at once.", rich_help_panel=ENGINE)]
MaxNumBatchedTokens = Annotated[
    int, typer.Option("--max-num-batched-tokens", help="Rows of one forward.", rich_help_panel=ENGINE)
]
PageSize = Annotated[int, typer.Option("--page-size", help="Tokens per KV cache page.", rich_help_panel=ENGINE)]
NumPages = Annotated[
    int | None,
    typer.Option("--num-pages", help="KV cache pages; sized by memory if left out.", rich_help_panel=ENGINE),
]
KvCacheMemory = Annotated[
    int | None,
    typer.Option(
        "--kv-cache-memory-bytes",
        help="Most memory for KV cache pages; one context's (up to 1 GiB) on a CPU, a GPU's free share if left out.",
        min=1,
        rich_help_panel=ENGINE,
    ),
]
GpuMemoryUtilization = Annotated[
    float,
    typer.Option(
        "--gpu-memory-utilization",
        help="Share of a GPU's memory that weights, KV pages and forwards may take.",
        rich_help_panel=ENGINE,
    ),
]
PrefixCaching = Annotated[
    bool,
    typer.Option(
        "--enable-prefix-caching/--no-enable-prefix-caching",
        help="Keep finished prompts' pages.",
        rich_help_panel=ENGINE,
    ),
]
Dtype = Annotated[
    str, typer.Option("--dtype", help="auto, float32, float64, bfloat16 or float16.", rich_help_panel=ENGINE)
]
KvCacheDtype = Annotated[
    str,
    typer.Option(
        "--kv-cache-dtype",
        help="What K and V are kept in: auto is --dtype; float16 holds twice the tokens of float32 on a CPU.",
        rich_help_panel=ENGINE,
    ),
]
QuantizationFlag = Annotated[
    QuantizationName,
    typer.Option("--quantization", help="Bits of the linear layers' weights.", rich_help_panel=ENGINE),
]
Lora = Annotated[
    str | None,
    typer.Option("--lora", help="PEFT LoRA folder or hub id, merged into the weights.", rich_help_panel=ENGINE),
]
DraftLora = Annotated[
    str | None,
    typer.Option(
        "--draft-lora",
        help="PEFT LoRA folder that acts on drafting rows alone, such as linear_spec_lora; it changes no answer.",
        rich_help_panel=ENGINE,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.", rich_help_panel=ENGINE)]
AttentionBackend = Annotated[
    AttentionName,
    typer.Option(
        "--attention-backend",
        help="auto is triton on a CUDA device, and native, C kernels compiled here, on a CPU.",
        rich_help_panel=ENGINE,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed for requests that bring none.", rich_help_panel=ENGINE)]
Threads = Annotated[int | None, typer.Option("--threads", help="CPU threads of the engine.", rich_help_panel=ENGINE)]
AsyncScheduling = Annotated[
    bool | None,
    typer.Option(
        "--async-scheduling/--no-async-scheduling",
        help="Launch each decode step before the one before it is read; on by itself on a GPU.",
        rich_help_panel=ENGINE,
    ),
]
EnforceEager = Annotated[
    bool, typer.Option("--enforce-eager", help="Run a GPU's decode steps without CUDA graphs.", rich_help_panel=ENGINE)
]
DataParallelSize = Annotated[
    int,
    typer.Option(
        "--data-parallel-size", help="Engines behind the API, each with the whole model.", min=1, rich_help_panel=ENGINE
    ),
]
TensorParallelSize = Annotated[
    int,
    typer.Option(
        "--tensor-parallel-size", help="Processes or GPUs that share one model.", min=1, rich_help_panel=ENGINE
    ),
]
EngineTimeout = Annotated[
    float,
    typer.Option(
        "--engine-timeout",
        help="Replace an engine that says nothing for so many seconds; longer than any step. 0 waits for ever.",
        min=0,
        rich_help_panel=ENGINE,
    ),
]
MaxWaiting = Annotated[
    int, typer.Option("--max-waiting", help="Sequences that may wait; more get a 429.", rich_help_panel=ENGINE)
]
