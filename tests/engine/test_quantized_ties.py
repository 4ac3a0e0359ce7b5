"""The shipped model on quantised weights in float32: TiDAR leaves AR only at near ties, which are counted and shown.

The kernels round what they multiply and what comes out to bfloat16, the logits too, and so may make a whole step of it
out of float32's last bit. Tokens are near here where one such step between their logits, and not 1e-4, decides between
them; it may also move a token over the edge of top-p.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.messages import Submit
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from models.checkpoint import load_decoder
from models.decoder import Decoder
from models.quantization import Quantization, quantize_weights
from tests.engine.drive import acceptance, make_engine, run
from tests.engine.reference import causal_logits
from tests.engine.test_shipped_model import requests, shipped

__all__ = ["requests", "shipped"]

#: the distance of neighbouring bfloat16 numbers from 16 to 32, where the best logits lie
NEAR_TIE = 2**-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_every_divergence_on_quantised_weights_is_a_near_tie(
    shipped: Path, requests: list[Submit], kind: Quantization, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = requests[:60]
    settings = {"dtype": "float32", "max_model_len": 128, "quantization": kind}
    plain = run(make_engine(shipped, decoding="ar", **settings), asked)
    engine = make_engine(shipped, decoding="tidar", draft_length=4, predrafts="full", **settings)
    done = run(engine, asked)
    decoder = load_decoder(shipped, torch.float32)
    quantize_weights(decoder, kind)
    ties = [
        is_near_tie(decoder, one, plain[one.request_id].token_ids, done[one.request_id].token_ids)
        for one in asked
        if done[one.request_id].token_ids != plain[one.request_id].token_ids
    ]
    with capsys.disabled():
        told = f"{len(ties)} of {len(asked)} streams left AR's, {sum(ties)} of them at near ties"
        print(f"\n{kind} in float32, k = 4, T/NFE {acceptance(engine):.2f}: {told}")
    assert all(ties)
    assert len(ties) <= len(asked) // 10


def is_near_tie(decoder: Decoder, asked: Submit, one: list[int], other: list[int]) -> bool:
    """Whether a plain full forward chooses each of the two tokens that two streams first differ in, once the token's
    logit is raised by NEAR_TIE, or that of the token it chose by itself lowered."""
    shared = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    sequence = Sequence(asked, asked.params.seed or 0, 10**6, frozenset())
    sequence.tokens += one[:shared]
    sampler = Sampler(decoder.config.vocab_size, torch.device("cpu"))
    logits = causal_logits(decoder, sequence.tokens)[-1:]

    def chosen(moved: Tensor) -> int:
        return int(sampler.scores(moved, [Row(sequence, len(sequence.tokens), [])])[0].argmax())

    best = chosen(logits)
    for token in {one[shared], other[shared]} - {best}:
        better, best_worse = logits.clone(), logits.clone()
        better[0, token] += NEAR_TIE
        best_worse[0, best] -= NEAR_TIE
        if token not in (chosen(better), chosen(best_worse)):
            return False
    return True


def test_what_no_rounding_explains_is_no_near_tie(shipped: Path, requests: list[Submit]) -> None:
    decoder = load_decoder(shipped, torch.float32)
    asked = requests[0]
    best = int(causal_logits(decoder, list(asked.prompt_token_ids))[-1].argmax())
    worst = int(causal_logits(decoder, list(asked.prompt_token_ids))[-1].argmin())
    assert not is_near_tie(decoder, asked, [best], [worst])
