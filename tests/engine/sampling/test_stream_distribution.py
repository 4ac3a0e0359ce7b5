"""Whole streams in TiDAR mode, several tokens per forward, follow the AR model's distribution."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare

from engine.params import SamplingParams
from models.checkpoint import load_decoder
from tests.engine.drive import acceptance, make_engine, request, run
from tests.engine.reference import causal_logits
from tests.engine.sampling.enumerate import distribution, processed

PROMPT = [20, 21, 22]
ALLOWED = [5, 23, 24, 40]
DRAWS = 2_000


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_three_tokens_of_many_seeds_against_all_their_probabilities(learned: Path, penalty: float) -> None:
    params = {"temperature": 2.0, "allowed_token_ids": ALLOWED, "presence_penalty": penalty}
    decoder = load_decoder(learned, torch.float64)

    def following(said: list[int]) -> dict[int, float]:
        asked = SamplingParams(**params)  # type: ignore[arg-type]
        logits = processed(causal_logits(decoder, PROMPT + said)[-1].tolist(), asked, PROMPT, said)
        return dict(enumerate(distribution(logits, asked)))

    expected: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(3):
        shares = {said: following(list(said)) for said in expected}
        expected = {(*said, t): p * shares[said][t] for (said, p), t in product(expected.items(), ALLOWED)}

    engine = make_engine(learned, draft_length=4, predrafts="full", max_num_seqs=250)
    asked = [request(f"{seed}", PROMPT, seed=seed, max_tokens=3, **params) for seed in range(DRAWS)]
    seen = Counter(tuple(done.token_ids) for done in run(engine, asked).values())
    assert acceptance(engine) > 1.02
    assert chisquare(*_pooled(seen, expected)).pvalue > 1e-4


def _pooled(seen: Counter[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> tuple[list[float], list[float]]:
    """Observed and expected counts; outcomes too rare for the chi-square approximation are counted together."""
    common = [said for said, p in expected.items() if p * DRAWS >= 5]
    observed, awaited = [float(seen[said]) for said in common], [expected[said] * DRAWS for said in common]
    rest = DRAWS - sum(awaited)
    return ([*observed, DRAWS - sum(observed)], [*awaited, rest]) if rest > 1e-6 else (observed, awaited)
