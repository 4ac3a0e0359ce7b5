"""The fused arg-max has the noise of GumbelNoise, bit by bit where it is bits, and chooses what its twin chooses."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.messages import Submit
from engine.params import SamplingParams
from engine.sampling.kernels.noisy_argmax import BLOCK, gumbel, noise_words, noisy_argmax
from engine.sampling.noise import GumbelNoise
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from tests.ahead_of_time import reports

#: a GPU where there is one, else Triton's interpreter (see tests/__init__.py)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
VOCAB = BLOCK + 77
NOISE = GumbelNoise(VOCAB, DEVICE)

int64s = st.integers(-(2**63), 2**63 - 1)


@triton.jit
def words_kernel(seeds, positions, words, noise, vocab: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0)
    token = tl.arange(0, block)
    made = noise_words(tl.load(seeds + row), tl.load(positions + row), token)
    tl.store(words + row * vocab + token, made.to(tl.int32), mask=token < vocab)
    tl.store(noise + row * vocab + token, gumbel(made), mask=token < vocab)


def kernel_noise(seeds: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """31-bit words and noise, each [rows, VOCAB]."""
    words = torch.empty(len(seeds), VOCAB, dtype=torch.int32, device=DEVICE)
    noise = torch.empty(len(seeds), VOCAB, dtype=torch.float32, device=DEVICE)
    words_kernel[(len(seeds),)](seeds, positions, words, noise, VOCAB, triton.next_power_of_2(VOCAB))
    return words, noise


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(int64s, st.integers(0, 2**31 - 1)), min_size=1, max_size=6))
def test_the_noise_is_made_of_the_same_bits(keys: list[tuple[int, int]]) -> None:
    seeds, positions = (torch.tensor(column, device=DEVICE) for column in zip(*keys, strict=True))
    words, noise = kernel_noise(seeds, positions)
    # noise in float64 tells all 31 bits: undo it
    exact = NOISE(seeds, positions, torch.float64)
    uniform = -torch.expm1(-torch.exp(-exact))
    undone = (uniform * 2.0**31 - 0.5).round().to(torch.int64)
    certain = undone < 2**31 - 200  # above, the noise is clamped
    assert torch.equal(words.to(torch.int64)[certain], undone[certain])
    assert certain.float().mean() > 0.999
    torch.testing.assert_close(noise, NOISE(seeds, positions, torch.float32), rtol=2e-6, atol=2e-6)


def test_it_chooses_what_its_twin_chooses() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = 24
    logits = (torch.randn(rows, VOCAB, generator=generator) * 3).to(DEVICE)
    logits[3, 10:] = -float("inf")
    seeds = torch.randint(-(2**62), 2**62, (rows,), generator=generator).to(DEVICE)
    positions = torch.randint(0, 10**5, (rows,), generator=generator).to(DEVICE)
    temperatures = torch.tensor([0.0, 0.3, 0.8, 1.0, 1.7, 20.0] * 4, device=DEVICE)
    warm = logits / temperatures.clamp(min=1e-3)[:, None] + NOISE(seeds, positions, torch.float32)
    expected = torch.where(temperatures[:, None] > 0, warm, logits).argmax(-1)
    assert torch.equal(noisy_argmax(logits, temperatures, seeds, positions), expected)
    half = logits.half()
    assert torch.equal(noisy_argmax(half, temperatures * 0, seeds, positions), half.argmax(-1))


def test_of_equal_scores_the_lowest_token_wins_and_broken_rows_name_a_token_that_exists() -> None:
    logits = torch.zeros(4, VOCAB, device=DEVICE)
    logits[0, [5, 2000, VOCAB - 1]] = 1.0
    logits[1, VOCAB - 1] = 1.0
    logits[2] = float("nan")
    logits[3] = -float("inf")
    zeros = torch.zeros(4, dtype=torch.int64, device=DEVICE)
    tokens = noisy_argmax(logits, torch.zeros(4, device=DEVICE), zeros, zeros).tolist()
    assert tokens[:2] == [5, VOCAB - 1]
    assert all(0 <= token < VOCAB for token in tokens)


def test_what_lies_under_a_rows_threshold_cannot_win() -> None:
    logits = (torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(2)) * 3).to(DEVICE)
    temperatures = torch.tensor([0.7, 1.0, 0.0], device=DEVICE)
    seeds = positions = torch.arange(3, device=DEVICE)
    free = noisy_argmax(logits, temperatures, seeds, positions)
    none = torch.full((3,), -float("inf"), device=DEVICE)
    assert torch.equal(noisy_argmax(logits, temperatures, seeds, positions, none), free)
    best = logits.amax(-1) / temperatures.clamp(min=0.5)
    only = noisy_argmax(logits, temperatures, seeds, positions, best.where(temperatures > 0, none))
    assert torch.equal(only, logits.argmax(-1))
    assert not torch.equal(only, free)


def test_a_sampler_says_with_kernels_what_it_says_without() -> None:
    kinds = [
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"temperature": 1.0, "top_k": 3},
        {"temperature": 0.8, "logit_bias": {7: 30.0}},
        {"temperature": 1.3, "top_p": 0.4, "repetition_penalty": 1.2},
        {"temperature": 0.0, "top_k": 5, "presence_penalty": 1.5},
        {"temperature": 1.0, "min_p": 0.2},
    ]
    rows = []
    for index, kind in enumerate(kinds * 2):
        submit = Submit(request_id="x", prompt_token_ids=[3, 4], params=SamplingParams(**kind))
        rows.append(Row(Sequence(submit, index * 12345, 100, frozenset()), 2 + index, []))
    logits = torch.randn(len(rows), VOCAB, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    before = logits.clone()
    assert Sampler(VOCAB, DEVICE, triton=True).sample(logits, rows) == Sampler(VOCAB, DEVICE).sample(logits, rows)
    assert torch.equal(logits, before)


@pytest.mark.slow
def test_they_compile_without_spilling() -> None:
    for capability, made in reports("tests.engine.sampling.launches").items():
        assert len(made) == 9
        assert {name: report for name, report in made.items() if report.spilled} == {}, f"sm_{capability}"
