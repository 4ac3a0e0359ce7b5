"""What exactness is shown on: 200 prompts, each greedy, seeded and with settings of its own."""

from __future__ import annotations

import random
from typing import Any

from engine.messages import Submit
from tests.engine.drive import request
from tests.engine.tiny import EOS, FIRST, VOCAB

PROMPTS = 200

#: settings that only some requests have; a batch holds all of them side by side
SETTINGS: list[dict[str, Any]] = [
    {"temperature": 1.0, "top_k": 5},
    {"temperature": 1.2, "min_p": 0.1},
    {"temperature": 0.7, "repetition_penalty": 1.3},
    {"temperature": 0.0, "presence_penalty": 0.8, "frequency_penalty": 0.4},
    {"temperature": 0.9, "logit_bias": {5: 4.0, 9: -100.0, EOS: 2.0}},
    {"temperature": 1.0, "min_tokens": 6, "stop_token_ids": [20, 21, 22, 40]},
    {"temperature": 1.5, "allowed_token_ids": [EOS, 7, 8, 9, 30, 31, 32, 50]},
    {"temperature": 2.0, "top_p": 0.5, "top_k": 20, "min_p": 0.01, "ignore_eos": True},
    {"temperature": 0.0, "repetition_penalty": 1.1, "stop_token_ids": [33], "min_tokens": 4},
    {"temperature": 0.3, "frequency_penalty": -0.5, "presence_penalty": 0.5, "logprobs": 2},
]


def prompts(count: int = PROMPTS, longest: int = 60, seed: int = 0) -> list[list[int]]:
    """Random token prompts of 1..longest tokens; a third of them begin with one of three common stems."""
    rng = random.Random(seed)
    stems = [[rng.randrange(FIRST, VOCAB) for _ in range(n)] for n in (16, 27, 40)]
    made = []
    for index in range(count):
        prompt = [rng.randrange(FIRST, VOCAB) for _ in range(rng.randint(1, longest))]
        made.append((rng.choice(stems) + prompt)[:longest] if index % 3 == 0 else prompt)
    return made


def workload(count: int = PROMPTS) -> list[Submit]:
    """Every prompt three times: greedy, at T = 0.8 and top-p 0.95 with a seed, and with one of SETTINGS."""
    rng = random.Random(1)
    requests = []
    for index, prompt in enumerate(prompts(count)):
        seeded = {"temperature": 0.8, "top_p": 0.95}
        for kind, params in (("greedy", {}), ("seeded", seeded), ("mixed", SETTINGS[index % len(SETTINGS)])):
            length = {"max_tokens": rng.randint(8, 24), "seed": rng.getrandbits(64)}
            requests.append(request(f"{kind}-{index}", prompt, rng.randrange(3), **{**length, **params}))
    return requests
