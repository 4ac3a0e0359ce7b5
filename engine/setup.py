"""Start-up: from settings and a checkpoint folder to the parts an engine is made of."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import torch

from engine.adapter import with_adapter, with_draft_lora
from engine.cache.pages import PagePool
from engine.config import EngineConfig
from engine.errors import EngineError
from engine.grammar.compiler import GrammarCompiler
from engine.memory import explained
from engine.messages import Ready
from engine.parallel.followers import Followers
from engine.policy.auto import AutoPolicy
from engine.policy.base import Policy
from engine.policy.fixed import FixedPolicy
from engine.policy.probe import LONG_CONTEXT, MANY_SEQUENCES, PROBED_ROWS, measure_step_cost
from engine.policy.stored import CostStore
from engine.rank import LoadedRank, Rank, load_rank
from engine.resident.plan import policy_lengths, uses_graphs
from engine.runner import Runner
from engine.scheduler import Scheduler
from engine.strategies.base import Strategy
from engine.strategies.drafter import Beside, Drafter
from engine.strategies.registry import SCHEMES, check_heeded, choose_scheme
from engine.threads import Threads
from models.catalogue import cache_folder
from models.config import ModelConfig
from models.inference import Kernels
from models.share import Share


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
    kernels: Kernels
    rank: Rank
    followers: Followers | None

    @property
    def triton(self) -> bool:
        """Whether kernels are Triton's."""
        return self.kernels is Kernels.TRITON

    def close(self) -> None:
        """End the other processes of a split model."""
        if self.followers is not None:
            self.followers.close()
        self.rank.close()


def build(config: EngineConfig) -> Parts:
    """Load the model, size the cache, measure what steps cost. Raises EngineError or ModelError, one sentence each."""
    started = time.perf_counter()
    config.check()
    model_config = ModelConfig.from_folder(Path(config.model))
    config, model_config = with_adapter(config, model_config)
    config = with_draft_lora(_resolve_drafting(config, model_config), model_config)
    strategy = SCHEMES[config.decoding].make(config, model_config)
    asked = config.max_model_len is not None or config.num_pages is not None
    context = context_length(config, model_config)
    config = msgspec.structs.replace(config, max_model_len=context)
    loaded, followers = _load(config, model_config)
    try:
        folder = followers.folder if followers is not None else None
        # a cache that holds no whole context is refused where somebody asked for a length
        rank = loaded.join(folder, -(-context // config.page_size) if asked else 1)
        served = min(context, rank.num_pages * config.page_size)
        config = msgspec.structs.replace(config, max_model_len=served)
        parts = _assemble(config, model_config, strategy, loaded, rank, followers)
    except BaseException:
        if followers is not None:
            followers.close()
        raise
    ready = msgspec.structs.replace(parts.ready, load_seconds=time.perf_counter() - started)
    return replace(parts, ready=ready)


def _assemble(
    config: EngineConfig,
    model_config: ModelConfig,
    strategy: Strategy,
    loaded: LoadedRank,
    rank: Rank,
    followers: Followers | None,
) -> Parts:
    """Everything behind the weights; `load_seconds` is still open."""
    device, kernels, scheme = rank.device, loaded.kernels, SCHEMES[config.decoding]
    caching = config.enable_prefix_caching and strategy.shares_prefixes(config.page_size)
    pool = PagePool(rank.num_pages, config.page_size, caching)
    scheduler = Scheduler(strategy, pool, config.max_num_seqs, config.max_num_batched_tokens)
    with explained("loading what drafts", "choose a smaller --draft-model"):
        beside = Beside(rank.model, scheduler, loaded.dtype, device, kernels, loaded.threads)
        drafter = None if scheme.drafter is None else scheme.drafter(config, beside)
    tap = None if drafter is None else drafter.tap
    # drafters and adapters read rows by their numbers, followers are not told of any
    narrows = drafter is None and followers is None and config.adapter is None and config.draft_lora is None
    runner = Runner(rank.model, rank.attention, strategy, Threads(loaded.threads), tap, followers, narrows)
    ready = Ready(
        max_model_len=config.max_model_len or 0,
        vocab_size=model_config.vocab_size,
        eos_token_ids=list(model_config.eos_token_ids),
        decoding=config.decoding,
        draft_length=config.draft_length or 1,
        predrafts=config.predrafts,
        dtype=_name(loaded.dtype),
        cache_dtype=_name(loaded.cache_dtype),
        kernels=kernels.value,
        device=str(device),
        num_pages=rank.num_pages,
        page_size=config.page_size,
        weight_bytes=loaded.weight_bytes + (followers.weight_bytes if followers is not None else 0),
        kv_cache_bytes=rank.storage.num_bytes * config.tensor_parallel_size,
        forward_bytes=rank.forward_bytes,
        load_seconds=0.0,
    )
    with explained("running the first forwards", "lower --gpu-memory-utilization or --max-num-batched-tokens"):
        policy = _policy(config, runner, uses_graphs(config, device, kernels is Kernels.TRITON))
    grammars = GrammarCompiler(Path(config.model), ready.vocab_size, ready.eos_token_ids)
    grammars.warm()
    return Parts(
        config=config,
        model_config=model_config,
        device=device,
        runner=runner,
        scheduler=scheduler,
        strategy=strategy,
        drafter=drafter,
        policy=policy,
        grammars=grammars,
        ready=ready,
        kernels=kernels,
        rank=rank,
        followers=followers,
    )


def _load(config: EngineConfig, model: ModelConfig) -> tuple[LoadedRank, Followers | None]:
    """Rank 0's weights, and the other ranks that have loaded theirs at the same time."""
    share = Share(0, config.tensor_parallel_size)
    if share.size == 1:
        return load_rank(config, share), None
    share.config(model)  # refuses a model that cannot be divided, before any process is started
    followers = Followers(config)
    try:
        loaded = load_rank(config, share)
        followers.wait_until_loaded()
    except BaseException:
        followers.close()
        raise
    return loaded, followers


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


def context_length(config: EngineConfig, model: ModelConfig) -> int:
    """Tokens of one context: what the flag asks for, at most the model's own. Raises EngineError."""
    longest = model.max_position_embeddings
    if config.max_model_len is None:
        return longest
    if not 2 <= config.max_model_len <= longest:
        raise EngineError(f"--max-model-len must lie between 2 and the model's {longest}, not {config.max_model_len}.")
    return config.max_model_len


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


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _facts(config: EngineConfig, runner: Runner) -> dict[str, object]:
    """All that two engines must have in common for their steps to cost the same."""
    slots, model = runner.attention.storage.slots, runner.model
    gpu = torch.cuda.get_device_name(slots.device) if slots.device.type == "cuda" else None
    return {
        "model": repr(model.config),
        "processes": config.tensor_parallel_size,
        "layers": sorted({type(module).__name__ for module in model.modules()}),
        "attention": type(runner.attention).__name__,
        "dtype": str(runner.attention.storage.dtype),
        "cache": str(slots.dtype),
        "page_size": config.page_size,
        # how far the table reaches
        "rows": min(config.max_num_batched_tokens, PROBED_ROWS[-1]),
        "context": min(config.max_model_len or 0, MANY_SEQUENCES + LONG_CONTEXT),
        "gpu": gpu,
        "processor": platform.processor() or platform.machine(),
        "threads": runner.threads.most,
        "torch": str(torch.__version__),
    }
