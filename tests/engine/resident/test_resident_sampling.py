"""Sampling from tensors of settings gives the same tokens as sampling from requests, bit for bit."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from engine.params import Grammar, SamplingParams
from engine.resident.eligible import is_resident
from engine.resident.sampling import Draw, ResidentSampler, draw_for
from engine.resident.state import ResidentState
from engine.sampling.noise import GumbelNoise
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from tests.engine.drive import request

VOCAB, EACH = 300, 5
CPU = torch.device("cpu")
#: for kernels, a GPU where there is one, else Triton's interpreter (see tests/__init__.py)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def sequences(count: int, rng: random.Random, **fixed: Any) -> list[Sequence]:
    made = []
    for index in range(count):
        params: dict[str, Any] = {
            "temperature": rng.choice([0.0, 0.3, 1.0, 2.5]),
            "top_k": rng.choice([0, -1, 1, 7, VOCAB, 10 * VOCAB]),
            "top_p": rng.choice([1.0, 0.999, 0.5, 1e-6]),
            "min_p": rng.choice([0.0, 0.0, 0.05, 1.0]),
        }
        submit = request(f"{index}", [1], **{**params, **fixed})
        made.append(Sequence(submit, rng.randrange(-(2**63), 2**63), 10**6, frozenset()))
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(20))
def test_every_mix_of_settings_gives_the_plain_samplers_tokens(seed: int, dtype: torch.dtype) -> None:
    rng = random.Random(seed)
    fixed: dict[str, Any] = [{}, {"top_k": 0, "top_p": 1.0}, {"temperature": 0.0}][seed % 3]
    rows = sequences(rng.choice([1, 3, 8]), rng, **fixed)
    generator = torch.Generator().manual_seed(seed)
    # coarse logits, so that ties are common
    logits = (torch.randn(len(rows) * EACH, VOCAB, generator=generator, dtype=dtype) * 8).round() / 2
    positions = torch.randint(0, 2**20, (len(rows), EACH), generator=generator)
    flat = [Row(rows[i // EACH], int(positions.flatten()[i]), []) for i in range(len(rows) * EACH)]
    expected = Sampler(VOCAB, CPU).sample(logits, flat)
    state = ResidentState.empty(len(rows), 1, 2, 1, CPU)
    state.load(rows, VOCAB)
    draw = draw_for([row.params for row in rows])
    sampler = ResidentSampler(GumbelNoise(VOCAB, CPU))
    assert sampler.sample(logits, state.settings, positions, draw).flatten().tolist() == expected


@pytest.mark.parametrize("draw", ["filtered", "noisy"])
def test_kernels_say_the_same_in_both_loops(draw: str) -> None:
    rng = random.Random(5)
    rows = sequences(4, rng, **({} if draw == "filtered" else {"top_k": 0, "top_p": 1.0, "min_p": 0.0}))
    positions = torch.arange(8, device=DEVICE).view(4, 2)
    logits = torch.randn(8, VOCAB, generator=torch.Generator().manual_seed(5)).to(DEVICE) * 3
    flat = [Row(rows[i // 2], i, []) for i in range(8)]
    expected = Sampler(VOCAB, DEVICE, triton=True).sample(logits, flat)
    state = ResidentState.empty(8, 1, 2, 1, DEVICE)
    state.load(rows, VOCAB)
    sampler = ResidentSampler(GumbelNoise(VOCAB, DEVICE), triton=True)
    kind = draw_for([row.params for row in rows])
    said = sampler.sample(logits, state.first(4).settings, positions, kind)
    assert kind is Draw[draw.upper()]
    assert said.flatten().tolist() == expected == Sampler(VOCAB, DEVICE).sample(logits, flat)


def test_a_batch_filters_and_draws_only_where_some_row_asks_for_it() -> None:
    greedy, noisy = SamplingParams(temperature=0.0, top_k=3), SamplingParams(temperature=1.0)
    filtered = SamplingParams(temperature=1.0, min_p=0.1)
    assert draw_for([greedy]) is Draw.GREEDY
    assert draw_for([greedy, noisy]) is Draw.NOISY
    assert draw_for([greedy, noisy, filtered]) is Draw.FILTERED


@pytest.mark.parametrize(
    "setting",
    [
        {"logprobs": 0},
        {"repetition_penalty": 1.1},
        {"presence_penalty": 0.1},
        {"frequency_penalty": -0.1},
        {"logit_bias": {3: 1.0}},
        {"allowed_token_ids": [3]},
        {"min_tokens": 1},
        {"bad_words": [[3, 4]]},
        {"grammar": Grammar("regex", "a+")},
    ],
)
def test_what_needs_the_host_is_not_resident(setting: dict[str, Any]) -> None:
    assert not is_resident(SamplingParams(**setting))


def test_what_the_device_knows_is_resident() -> None:
    assert is_resident(
        SamplingParams(
            temperature=0.5,
            top_k=3,
            top_p=0.9,
            min_p=0.1,
            seed=4,
            stop_token_ids=[3],
            max_tokens=None,
            ignore_eos=True,
            prompt_logprobs=2,
        )
    )
