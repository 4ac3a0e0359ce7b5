"""Every denoising scheme with its settings, and the plain reference that it must equal."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.messages import Submit
from models.decoder import Decoder
from tests.engine.denoising.reference import (
    Rule,
    Text,
    block_diffusion,
    d2f,
    dream,
    entropy,
    llada,
    llada_cached,
    margin,
)
from tests.engine.drive import request
from tests.engine.tiny import EOS, FIRST, MASK, VOCAB

Say = Callable[[Text], Text]


@dataclass(frozen=True)
class Case:
    """Settings of an engine over one of the conftest's checkpoints, and the reference's word for them."""

    checkpoint: str
    settings: dict[str, Any]
    say: Say
    shift: int = 0
    caches: bool = field(default=True)

    def text(self, decoder: Decoder, asked: Submit) -> Text:
        return self.say(Text(decoder, MASK, asked, self.shift))


BLOCKS = {"decoding": "block-diffusion"}
PIPELINE = {"decoding": "d2f"}

CASES: dict[str, Case] = {
    "tidar weights, threshold": Case(
        "learned", {**BLOCKS, "denoise_threshold": 0.8}, lambda t: block_diffusion(t, 4, "causal", Rule(threshold=0.8))
    ),
    "tidar weights, blocks of 8": Case(
        "learned", {**BLOCKS, "draft_length": 8}, lambda t: block_diffusion(t, 8, "causal", Rule(threshold=0.9))
    ),
    "aligned, threshold": Case(
        "sdar", {"denoise_threshold": 0.3}, lambda t: block_diffusion(t, 4, "aligned", Rule(threshold=0.3))
    ),
    "aligned, steps": Case("sdar", {"denoise_steps": 3}, lambda t: block_diffusion(t, 4, "aligned", Rule(steps=3))),
    "aligned, threshold and steps": Case(
        "sdar",
        {"denoise_steps": 4, "denoise_threshold": 0.2, "draft_length": 8},
        lambda t: block_diffusion(t, 8, "aligned", Rule(threshold=0.2, steps=4)),
    ),
    "aligned, left to right": Case(
        "sdar",
        {"denoise_order": "left-to-right", "denoise_threshold": 0.3},
        lambda t: block_diffusion(t, 4, "aligned", Rule(threshold=0.3, leftmost=True)),
    ),
    "aligned, entropy": Case(
        "sdar",
        {"denoise_order": "entropy", "denoise_steps": 2},
        lambda t: block_diffusion(t, 4, "aligned", Rule(entropy, steps=2)),
    ),
    "after a prompt": Case(
        "efficient", {"denoise_threshold": 0.2}, lambda t: block_diffusion(t, 4, "prompt", Rule(threshold=0.2))
    ),
    "d2f, shifted": Case("dream", {**PIPELINE, "denoise_threshold": 0.1}, lambda t: d2f(t, 4, 0.1), shift=1),
    "d2f, blocks of 8": Case(
        "llada", {**PIPELINE, "denoise_threshold": 0.15, "draft_length": 8}, lambda t: d2f(t, 8, 0.15)
    ),
    "llada": Case("llada", {}, lambda t: llada(t, 4, Rule()), caches=False),
    "llada, margin in steps": Case(
        "llada",
        {"denoise_order": "margin", "denoise_steps": 3, "draft_length": 8},
        lambda t: llada(t, 8, Rule(margin, steps=3)),
        caches=False,
    ),
    "llada, cached": Case("llada", {"denoise_cache": True}, lambda t: llada_cached(t, 4, Rule())),
    "llada, cached, in steps": Case(
        "llada",
        {"denoise_cache": True, "denoise_steps": 3, "draft_length": 8},
        lambda t: llada_cached(t, 8, Rule(steps=3)),
    ),
    "dream": Case("dream", {}, lambda t: dream(t, entropy, None), shift=1, caches=False),
    "dream, margin in 5 steps": Case(
        "dream", {"denoise_order": "margin", "denoise_steps": 5}, lambda t: dream(t, margin, 5), shift=1, caches=False
    ),
}

SAMPLING: list[dict[str, Any]] = [
    {},
    {"temperature": 0.8, "top_p": 0.95, "seed": 5},
    {"temperature": 1.0, "seed": 7, "logprobs": 0},
    {"temperature": 0.6, "presence_penalty": 0.7, "repetition_penalty": 1.2, "seed": 6},
    {"temperature": 0.9, "logit_bias": {5: 3.0, EOS: 2.0}, "seed": 8},
    {"temperature": 1.2, "top_k": 9, "min_tokens": 6, "logit_bias": {EOS: 4.0}, "seed": 9},
    {"temperature": 0.0, "allowed_token_ids": [EOS, 7, 8, 9, 30, 31], "ignore_eos": True, "logprobs": 2},
]


def requests(count: int, longest: int = 20, seed: int = 0) -> list[Submit]:
    """Prompts and outputs of many lengths, each with one of SAMPLING."""
    rng = random.Random(seed)
    made = []
    for index in range(count):
        prompt = [rng.randrange(FIRST, VOCAB) for _ in range(rng.randint(1, longest))]
        made.append(request(f"{index}", prompt, max_tokens=rng.randint(6, 17), **SAMPLING[index % len(SAMPLING)]))
    return made
