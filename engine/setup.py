"""Start-up: from settings and a checkpoint folder to the parts an engine is made of."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from engine.adapter import with_adapter
from engine.attention.choice import make_attention, uses_triton
from engine.cache.pages import PagePool
from engine.cache.storage import KVStorage
from engine.config import EngineConfig
from engine.errors import EngineError
from engine.grammar.compiler import GrammarCompiler
from engine.memory import explained, forward_bytes, kv_cache_budget, limiting_flag
from engine.messages import Ready
from engine.policy.auto import AutoPolicy
from engine.policy.base import Policy
from engine.policy.fixed import FixedPolicy
from engine.policy.probe import measure_step_cost
from engine.policy.stored import CostStore
from engine.resident.plan import policy_lengths, uses_graphs
from engine.runner import Runner
from engine.scheduler import Scheduler
from engine.strategies.base import Strategy
from engine.strategies.drafter import Beside, Drafter
from engine.strategies.registry import SCHEMES, check_heeded, choose_scheme
from engine.threads import Threads
from models.adapter.storage import read_tensors
from models.catalogue import cache_folder
from models.checkpoint import load_decoder
from models.config import ModelConfig
from models.inference import prepare_for_inference

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "half": torch.float16,
    "float": torch.float32,
}


@dataclass(frozen=True)
class Parts:
    """What `build` made; `config` has every "auto" and None resolved that the engine still reads."""

    config: EngineConfig
    model_config: ModelConfig
    device: torch.device
    runner: Runner
    scheduler: Scheduler
    strategy: Strategy
    drafter: Drafter | None
    policy: Policy
    grammars: GrammarCompiler
    ready: Ready
    triton: bool


def build(config: EngineConfig) -> Parts:
    """Load the model, size the cache, measure what steps cost. Raises EngineError or ModelError, one sentence each."""
    started = time.perf_counter()
    config.check()
    folder = Path(config.model)
    model_config = ModelConfig.from_folder(folder)
    config, model_config, adapter = with_adapter(config, model_config)
    config = _resolve_drafting(config, model_config)
    scheme = SCHEMES[config.decoding]
    strategy = scheme.make(config, model_config)
    asked = config.max_model_len is not None or config.num_pages is not None
    config = msgspec.structs.replace(config, max_model_len=_context(config, model_config))
    device, dtype = _device(config), _dtype(config, model_config)
    threads = (config.threads or len(os.sched_getaffinity(0))) if device.type == "cpu" else 1
    if device.type == "cpu":
        torch.set_num_threads(threads)
    with explained("loading the weights", "choose a smaller --dtype or a smaller model"):
        model = load_decoder(folder, dtype, device, lora=Path(config.lora) if config.lora else None)
        tensors = None if adapter is None else read_tensors(adapter, model)
    weight_bytes = sum(p.numel() for p in [*model.parameters(), *(tensors or {}).values()]) * dtype.itemsize
    with explained("setting up the KV cache", f"lower {limiting_flag(config, device)}"):
        storage, num_pages = _storage(config, model_config, dtype, device, asked)
    config = msgspec.structs.replace(config, max_model_len=min(config.max_model_len or 0, num_pages * config.page_size))
    triton = uses_triton(config.attention_backend, device, dtype)
    prepare_for_inference(model, triton, tensors)
    caching = config.enable_prefix_caching and strategy.shares_prefixes(config.page_size)
    pool = PagePool(num_pages, config.page_size, caching)
    scheduler = Scheduler(strategy, pool, config.max_num_seqs, config.max_num_batched_tokens)
    with explained("loading what drafts", "choose a smaller --draft-model"):
        beside = Beside(model, scheduler, dtype, device, triton, threads)
        drafter = None if scheme.drafter is None else scheme.drafter(config, beside)
    tap = None if drafter is None else drafter.tap
    runner = Runner(model, make_attention(triton, storage), strategy, Threads(threads), tap)
    ready = Ready(
        max_model_len=config.max_model_len or 0,
        vocab_size=model_config.vocab_size,
        eos_token_ids=list(model_config.eos_token_ids),
        decoding=config.decoding,
        draft_length=config.draft_length or 1,
        predrafts=config.predrafts,
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        num_pages=num_pages,
        page_size=config.page_size,
        weight_bytes=weight_bytes,
        kv_cache_bytes=storage.num_bytes,
        forward_bytes=forward_bytes(config, model_config, dtype),
        load_seconds=0.0,
    )
    with explained("running the first forwards", "lower --gpu-memory-utilization or --max-num-batched-tokens"):
        policy = _policy(config, runner, uses_graphs(config, device, triton))
    grammars = GrammarCompiler(folder, ready.vocab_size, ready.eos_token_ids)
    grammars.warm()
    ready = msgspec.structs.replace(ready, load_seconds=time.perf_counter() - started)
    return Parts(config, model_config, device, runner, scheduler, strategy, drafter, policy, grammars, ready, triton)


def _resolve_drafting(config: EngineConfig, model: ModelConfig) -> EngineConfig:
    """Decide how to decode, and k, from the flags and what the checkpoint says of its drafts."""
    decoding, k = choose_scheme(config.decoding, config.draft_length, model)
    scheme = SCHEMES[decoding]
    if not scheme.resident:
        if config.async_scheduling:
            raise EngineError(f"--async-scheduling does not know --decoding {decoding}; leave one of them out.")
        config = msgspec.structs.replace(config, async_scheduling=False)
    predrafts = config.predrafts if scheme.predrafts else "none"
    config = msgspec.structs.replace(config, decoding=decoding, draft_length=k, predrafts=predrafts)
    check_heeded(config)
    return config


def _context(config: EngineConfig, model: ModelConfig) -> int:
    longest = model.max_position_embeddings
    if config.max_model_len is None:
        return longest
    if not 2 <= config.max_model_len <= longest:
        raise EngineError(f"--max-model-len must lie between 2 and the model's {longest}, not {config.max_model_len}.")
    return config.max_model_len


def _device(config: EngineConfig) -> torch.device:
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineError(f"--device {name!r} is not a device torch knows; use cpu or cuda.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EngineError("--device cuda was asked for, but torch finds no CUDA device; use --device cpu.")
    return device


def _dtype(config: EngineConfig, model: ModelConfig) -> torch.dtype:
    """ "auto" is the checkpoint's own on a GPU and float32 on a CPU, where half precision is slow or inexact."""
    name = config.dtype
    if name == "auto":
        name = "float32" if _device(config).type == "cpu" else model.dtype
    if name not in DTYPES:
        raise EngineError(f"--dtype {name!r} is not known; use one of auto, {', '.join(DTYPES)}.")
    return DTYPES[name]


def _storage(
    config: EngineConfig, model: ModelConfig, dtype: torch.dtype, device: torch.device, asked: bool
) -> tuple[KVStorage, int]:
    """As many pages as the memory limit allows and max_num_seqs full contexts could use.

    Fewer than one context takes are refused where somebody `asked` for a length.
    """
    assert config.max_model_len is not None
    longest = -(-config.max_model_len // config.page_size)
    page_bytes = KVStorage.bytes_per_page(model, config.page_size, dtype)
    of_drafter = SCHEMES[config.decoding].page_bytes
    page_bytes += 0 if of_drafter is None else of_drafter(config, model, dtype)
    num_pages = config.num_pages
    if num_pages is None:
        budget = kv_cache_budget(config, model, dtype, device)
        num_pages = min(config.max_num_seqs * longest, budget // page_bytes)
    if num_pages < (longest if asked else 1):
        raise EngineError(
            f"The KV cache of {num_pages} pages of {config.page_size} tokens cannot hold one context of "
            f"{config.max_model_len} tokens; lower --max-model-len or raise "
            f"{limiting_flag(config, device)}."
        )
    return KVStorage(model, num_pages, config.page_size, config.max_num_batched_tokens, dtype, device), num_pages


def _policy(config: EngineConfig, runner: Runner, graphs: bool) -> Policy:
    k, scheme = config.draft_length or 1, SCHEMES[config.decoding]
    if not scheme.predrafts:
        return FixedPolicy(k, 0)
    if config.predrafts == "auto":
        rows, context = config.max_num_batched_tokens, config.max_model_len or 0
        cost = measure_step_cost(
            runner, rows, context, CostStore(cache_folder() / "step-costs", _facts(config, runner))
        )
        return AutoPolicy(policy_lengths(k, graphs), cost, masks=scheme.drafter is None)
    groups = {"full": k, "none": 0}.get(config.predrafts)
    return FixedPolicy(k, int(config.predrafts) if groups is None else groups)


def _facts(config: EngineConfig, runner: Runner) -> dict[str, object]:
    """All that two engines must have in common for their steps to cost the same."""
    slots, model = runner.attention.storage.slots, runner.model
    gpu = torch.cuda.get_device_name(slots.device) if slots.device.type == "cuda" else None
    return {
        "model": repr(model.config),
        "layers": sorted({type(module).__name__ for module in model.modules()}),
        "attention": type(runner.attention).__name__,
        "dtype": str(slots.dtype),
        "page_size": config.page_size,
        "gpu": gpu,
        "processor": platform.processor() or platform.machine(),
        "threads": runner.threads.most,
        "torch": str(torch.__version__),
    }
