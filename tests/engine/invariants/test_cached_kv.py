"""Invariant 2: cached K/V after acceptance equal the K/V of a plain prefill of the same tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.engine import Engine
from engine.sequence import Sequence
from models.checkpoint import load_decoder
from models.decoder import Decoder
from tests.engine.drive import acceptance, make_engine, request, run
from tests.engine.reference import MaskedAttention
from tests.engine.workload import prompts


class Recording:
    """Causal attention that keeps each layer's K and V, [layers][2, tokens, kv_heads, head_dim]."""

    def __init__(self, rows: int) -> None:
        self.causal = MaskedAttention(torch.ones(rows, rows, dtype=torch.bool).tril())
        self.layers: list[Tensor] = []

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.layers.append(torch.stack((k, v)))
        return self.causal(layer, q, k, v)


def plain_kv(decoder: Decoder, token_ids: list[int]) -> Tensor:
    """[layers, tokens, 2, kv_heads, head_dim]."""
    recording = Recording(len(token_ids))
    with torch.inference_mode():
        decoder(torch.tensor(token_ids), torch.arange(len(token_ids)), recording)
    return torch.stack(recording.layers).transpose(1, 2)


def cached_kv(engine: Engine, sequence: Sequence) -> Tensor:
    """What the pages hold for the sequence's prefix, [layers, prefix_len, 2, kv_heads, head_dim]."""
    size = engine.config.page_size
    slots = [sequence.pages[p // size] * size + p % size for p in range(sequence.prefix_len)]
    return engine.runner.attention.storage.slots[:, slots]


@pytest.mark.parametrize("predrafts", ["full", "none", "2"])
@pytest.mark.parametrize("k", [2, 4, 8])
def test_after_every_step_the_cache_holds_what_a_plain_prefill_computes(learned: Path, k: int, predrafts: str) -> None:
    decoder = load_decoder(learned, torch.float64)
    compared = 0

    def compare(engine: Engine) -> None:
        nonlocal compared
        for sequence in engine.scheduler.running:
            expected = plain_kv(decoder, sequence.tokens[: sequence.prefix_len])
            torch.testing.assert_close(cached_kv(engine, sequence), expected, rtol=0, atol=1e-10)
            compared += 1

    engine = make_engine(
        learned, decoding="tidar", draft_length=k, predrafts=predrafts, page_size=4, num_pages=40, max_num_seqs=4
    )
    asked = [
        request(f"{i}", prompt, temperature=0.5 * (i % 2), seed=i, max_tokens=16, ignore_eos=True)
        for i, prompt in enumerate(prompts(8, longest=30))
    ]
    run(engine, asked, compare)
    assert compared > 30
    assert acceptance(engine) > 1.1
