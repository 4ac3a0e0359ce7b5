"""Puts a resident loop together from the parts of an engine."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.cache.storage import KVStorage
from engine.config import EngineConfig
from engine.memory import explained
from engine.resident.attention import GatherAttention, ResidentAttention
from engine.resident.graphs import GraphedStep
from engine.resident.loop import ResidentLoop, Step
from engine.resident.plan import graph_keys, uses_graphs, uses_resident
from engine.resident.sampling import Draw, ResidentSampler
from engine.resident.shapes import bucket
from engine.resident.state import ResidentState
from engine.resident.step import ResidentStep
from engine.resident.synthetic import accept_at_random
from engine.resident.verify import accepted_lengths
from engine.sampling.noise import GumbelNoise
from engine.setup import Parts
from engine.stats import StatsRecorder
from engine.window import WindowShape


def make_loop(parts: Parts, recorder: StatsRecorder) -> ResidentLoop | None:
    """The one-ahead loop over these parts, or None where the plain loop does everything. Raises EngineError."""
    config, device = parts.config, parts.device
    if not uses_resident(config, device):
        return None
    storage, vocab = parts.runner.attention.storage, parts.model_config.vocab_size
    with explained("setting up its decode steps", "lower --gpu-memory-utilization or use --enforce-eager"):
        state = empty_state(config, storage.scratch_page, device)
        step, graph_bytes = _step(parts, state)
    return ResidentLoop(step, state, parts.scheduler, parts.policy, recorder, storage.scratch_page, vocab, graph_bytes)


def empty_state(config: EngineConfig, scratch_page: int, device: torch.device) -> ResidentState:
    """Room for the largest batch and the longest context."""
    draft_length = config.draft_length or 1
    # a sequence that ends at the limit may be in two more windows before the host knows
    longest = (config.max_model_len or 0) + 3 * draft_length
    pages = -(-longest // config.page_size)
    return ResidentState.empty(bucket(config.max_num_seqs), pages, draft_length, scratch_page, device)


def make_step(parts: Parts) -> ResidentStep:
    """The step itself, without graphs."""
    vocab, draft = parts.model_config.vocab_size, parts.model_config.draft
    sampler = ResidentSampler(GumbelNoise(vocab, parts.device), parts.triton)
    attention = _attention(parts.runner.attention.storage, parts.triton)
    rate = parts.config.synthetic_acceptance
    accepts = accepted_lengths if rate is None else accept_at_random(rate)
    mask_token_id = None if draft is None else draft.mask_token_id
    return ResidentStep(parts.runner.model, attention, sampler, mask_token_id, accepts)


def _step(parts: Parts, state: ResidentState) -> tuple[Step, int]:
    """How the loop runs a step, and the bytes that graphs took."""
    resident, threads = make_step(parts), parts.runner.threads
    if uses_graphs(parts.config, parts.device, parts.triton):
        graphed = GraphedStep(resident, state, parts.config.max_model_len or 0)
        graphed.capture(graph_keys(parts.config))
        return graphed, graphed.num_bytes

    def eager(state: ResidentState, shape: WindowShape, context: int, draw: Draw) -> Tensor:
        return threads.run(state.batch * shape.rows, lambda: resident(state, shape, context, draw))

    return eager, 0


def _attention(storage: KVStorage, triton: bool) -> ResidentAttention:
    """Triton's, which is imported only here, or torch's."""
    if not triton:
        return GatherAttention(storage)
    from engine.resident.triton_attention import TritonResident

    return TritonResident(storage)
