"""One model with its cache and a resident batch of any size and context, ready to be stepped."""

from __future__ import annotations

import torch

from bench.gpu.shapes import random_decoder
from engine.attention.choice import choose_kernels
from engine.cache.storage import KVStorage
from engine.resident.attention import GatherAttention, ResidentAttention
from engine.resident.graphs import GraphedStep
from engine.resident.plan import GraphKey
from engine.resident.sampling import Draw, ResidentSampler
from engine.resident.state import ResidentState
from engine.resident.step import Accepts, ResidentStep
from engine.resident.verify import accepted_lengths
from engine.sampling.noise import GumbelNoise
from engine.window import WindowShape
from models.config import ModelConfig
from models.inference import Kernels, prepare_for_inference

PAGE = 16
#: tokens that a batch may grow by while it is timed
SLACK = 512
#: share of the free memory that pages take; the rest is for the steps
PAGE_SHARE = 0.6


class Rig:
    """Random weights and random K/V; `prepare` makes the state's first rows a batch of live sequences."""

    def __init__(
        self, config: ModelConfig, device: torch.device, dtype: torch.dtype, batch: int, context: int, draft: int
    ) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self.max_context = context + SLACK
        self.model = random_decoder(config, dtype, device)
        kernels = choose_kernels("auto", device, dtype)
        self.triton = kernels is Kernels.TRITON
        prepare_for_inference(self.model, kernels)
        self.num_pages = self._pages(batch)
        self.storage = KVStorage(config, self.num_pages, PAGE, PAGE, dtype, device)
        for layer in self.storage.slots:
            layer.normal_()
        pages = -(-(self.max_context + 3 * draft) // PAGE)
        self.state = ResidentState.empty(batch, pages, draft, self.storage.scratch_page, device)

    def step(self, accepts: Accepts = accepted_lengths) -> ResidentStep:
        """The engine's step on this model."""
        sampler = ResidentSampler(GumbelNoise(self.config.vocab_size, self.device), self.triton)
        mask = self.config.draft.mask_token_id if self.config.draft else None
        return ResidentStep(self.model, self._attention(), sampler, mask, accepts)

    def graphed(self, step: ResidentStep, batch: int, shapes: list[WindowShape]) -> GraphedStep | None:
        """The step as CUDA graphs, or None where there are none."""
        if self.device.type != "cuda" or not self.triton:
            return None
        graphed = GraphedStep(step, self.state, self.max_context)
        graphed.capture(GraphKey(batch, shape, Draw.NOISY) for shape in shapes)
        return graphed

    def fits(self, batch: int, context: int) -> bool:
        """Whether so many sequences have pages of their own."""
        return batch * self._pages_each(context) <= self.num_pages

    def prepare(self, batch: int, context: int) -> ResidentState:
        """Live sequences with pages of their own, random drafts, temperature 1."""
        state, each = self.state.first(batch), self._pages_each(context)
        order = torch.randperm(self.num_pages, device=self.device)[: batch * each] + 1
        state.table.fill_(self.storage.scratch_page)
        state.table[:, 1 : 1 + each] = order.view(batch, each).to(torch.int32)
        state.table[:, 0] = context
        state.alive.fill_(1)
        state.candidates.random_(0, self.config.vocab_size)
        state.settings.top_k.fill_(self.config.vocab_size)
        state.settings.min_p.fill_(0.0)
        state.settings.seed.random_()
        return state

    def eager(self, state: ResidentState, shape: WindowShape, context: int, step: ResidentStep) -> None:
        """One step without a graph."""
        step(state, shape, min(context + SLACK, self.max_context), Draw.NOISY)

    @staticmethod
    def _pages_each(context: int) -> int:
        return -(-(context + SLACK) // PAGE)

    def _pages(self, batch: int) -> int:
        wanted = batch * self._pages_each(self.max_context - SLACK)
        if self.device.type != "cuda":
            return wanted
        free = torch.cuda.mem_get_info(self.device)[0]
        return min(wanted, int(PAGE_SHARE * free) // KVStorage.bytes_per_page(self.config, PAGE, self.dtype))

    def _attention(self) -> ResidentAttention:
        if not self.triton:
            return GatherAttention(self.storage)
        from engine.resident.triton_attention import TritonResident

        return TritonResident(self.storage)
