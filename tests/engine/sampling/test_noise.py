"""The noise is a pure function of (seed, position, token) and looks like independent Gumbel draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gumbel_r, kstest
from torch import Tensor

from engine.sampling.noise import GumbelNoise

VOCAB = 1000
NOISE = GumbelNoise(VOCAB, torch.device("cpu"))

int64s = st.integers(-(2**63), 2**63 - 1)


def rows(seeds: list[int], positions: list[int], dtype: torch.dtype = torch.float64) -> Tensor:
    """[rows, VOCAB]."""
    return NOISE(torch.tensor(seeds), torch.tensor(positions), dtype)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(int64s, st.integers(0, 2**31 - 1)), min_size=2, max_size=8), st.sampled_from([0, 1]))
def test_a_row_does_not_depend_on_the_batch_it_is_in(keys: list[tuple[int, int]], index: int) -> None:
    seeds, positions = map(list, zip(*keys, strict=True))
    assert torch.equal(rows(seeds, positions)[index], rows([seeds[index]], [positions[index]])[0])


def test_a_token_does_not_depend_on_the_size_of_the_vocabulary() -> None:
    seeds, positions = torch.tensor([3, 4]), torch.tensor([5, 6])
    small = GumbelNoise(100, torch.device("cpu"))(seeds, positions, torch.float64)
    assert torch.equal(small, NOISE(seeds, positions, torch.float64)[:, :100])


def test_the_noise_is_this_function_and_stays_it() -> None:
    """A seed must give the same text after an upgrade: these values may never change."""
    pinned = [
        [-1.100662408147829, -0.38564497736658065, 1.7125359310305397],
        [-0.027990643177588037, 3.7066955718752905, 0.2867083215523168],
    ]
    torch.testing.assert_close(rows([-1, 2**40 + 7], [1, 12345])[:, :3].tolist(), pinned, rtol=0, atol=1e-12)


def test_float32_is_the_same_noise_rounded() -> None:
    wide, narrow = rows(list(range(50)), [9] * 50), rows(list(range(50)), [9] * 50, torch.float32)
    assert narrow.dtype == torch.float32
    # near its lower end the noise amplifies the rounding of the uniform; that end never wins an argmax
    likely = wide > -1.5
    assert likely.double().mean() > 0.98
    torch.testing.assert_close(narrow[likely].double(), wide[likely], rtol=0, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(int64s, st.integers(0, 2**31 - 1), st.sampled_from([torch.float32, torch.float64]))
def test_the_noise_is_always_finite(seed: int, position: int, dtype: torch.dtype) -> None:
    assert rows([seed], [position], dtype).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_largest_noise_keeps_its_precision(dtype: torch.dtype) -> None:
    """One value in a billion; a careless float32 makes it infinite, and its token wins whatever its probability."""
    values = rows([6, 13, 37], [3748, 2445, 159], dtype)[range(3), [951, 312, 777]]
    expected = torch.tensor([19.236271, 20.571272, 19.983484], dtype=torch.float64)
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("along", ["tokens", "positions", "seeds", "high seeds"])
def test_it_is_gumbel_along_every_axis(along: str, dtype: torch.dtype) -> None:
    count = 20_000
    axis, zeros = torch.arange(count), torch.zeros(count, dtype=torch.int64)
    if along == "tokens":
        sample = GumbelNoise(count, torch.device("cpu"))(zeros[:1], zeros[:1], dtype)[0]
    elif along == "positions":
        sample = NOISE(zeros, axis, dtype)[:, 17]
    elif along == "seeds":
        sample = NOISE(axis, zeros, dtype)[:, 17]
    else:
        sample = NOISE(axis << 32, zeros, dtype)[:, 17]
    assert kstest(sample.double().numpy(), gumbel_r.cdf).pvalue > 1e-3


NEIGHBOURS = {
    "next position": ([5], list(range(200)), [5], list(range(1, 201))),
    "next seed": (list(range(200)), [7], list(range(1, 201)), [7]),
    "next high word": ([s << 32 for s in range(200)], [7], [(s + 1) << 32 for s in range(200)], [7]),
    "negated seed": (list(range(1, 201)), [7], [-s for s in range(1, 201)], [7]),
    "seed and position swapped": ([5], list(range(6, 206)), list(range(6, 206)), [5]),
}


@pytest.mark.parametrize("case", NEIGHBOURS)
def test_related_keys_give_unrelated_noise(case: str) -> None:
    one_seeds, one_positions, other_seeds, other_positions = NEIGHBOURS[case]
    one, other = (
        uniform(rows(seeds * (200 // len(seeds)), positions * (200 // len(positions))))
        for seeds, positions in ((one_seeds, one_positions), (other_seeds, other_positions))
    )
    for shift in (0, 1, 7):
        assert abs(correlation(one, other.roll(shift, 1))) < 5 / one.numel() ** 0.5


def test_tokens_of_one_row_are_unrelated() -> None:
    noise = uniform(rows(list(range(500)), [3] * 500))
    for distance in (1, 2, 64, 128):
        assert abs(correlation(noise[:, :-distance], noise[:, distance:])) < 5 / noise.numel() ** 0.5


def test_every_token_wins_equally_often() -> None:
    winners = rows(list(range(20_000)), [11] * 20_000)[:, :16].argmax(-1)
    counts = torch.bincount(winners, minlength=16)
    assert (counts - 1250).abs().max() < 5 * 1250**0.5


def uniform(noise: Tensor) -> Tensor:
    return torch.exp(-torch.exp(-noise))


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])
