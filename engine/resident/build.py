"""Puts a resident loop together from the parts of an engine."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.config import EngineConfig
from engine.resident.attention import GatherAttention
from engine.resident.loop import ResidentLoop
from engine.resident.sampling import Draw, ResidentSampler
from engine.resident.shapes import bucket
from engine.resident.state import ResidentState
from engine.resident.step import ResidentStep
from engine.sampling.noise import GumbelNoise
from engine.setup import Parts
from engine.stats import StatsRecorder
from engine.window import WindowShape


def make_loop(parts: Parts, recorder: StatsRecorder) -> ResidentLoop | None:
    """The one-ahead loop over these parts, or None where the plain loop does everything."""
    config, device = parts.config, parts.device
    if not uses_resident(config, device):
        return None
    storage, vocab = parts.runner.attention.storage, parts.model_config.vocab_size
    sampler = ResidentSampler(GumbelNoise(vocab, device))
    draft = parts.model_config.draft
    resident = ResidentStep(
        parts.runner.model, GatherAttention(storage), sampler, draft.mask_token_id if draft is not None else None
    )

    def step(state: ResidentState, shape: WindowShape, context: int, draw: Draw) -> Tensor:
        return parts.runner.threads.run(state.batch * shape.rows, lambda: resident(state, shape, context, draw))

    state = empty_state(config, storage.scratch_page, device)
    return ResidentLoop(step, state, parts.scheduler, parts.policy, recorder, storage.scratch_page, vocab)


def uses_resident(config: EngineConfig, device: torch.device) -> bool:
    """What --async-scheduling says, or whether this is a GPU."""
    return device.type == "cuda" if config.async_scheduling is None else config.async_scheduling


def empty_state(config: EngineConfig, scratch_page: int, device: torch.device) -> ResidentState:
    """Room for the largest batch and the longest context."""
    draft_length = config.draft_length or 1
    # a sequence that ends at the limit may be in two more windows before the host knows
    longest = (config.max_model_len or 0) + 3 * draft_length
    pages = -(-longest // config.page_size)
    return ResidentState.empty(bucket(config.max_num_seqs), pages, draft_length, scratch_page, device)
