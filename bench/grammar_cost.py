"""What a grammar costs: the same tokens with and without one, in pairs. Run as `python -m bench.grammar_cost`.

The grammar is "any text", which forbids nothing but special tokens, so that both runs of a pair say the same and differ
in the masks alone. Time is the process's own, which a busy machine does not stretch.
"""

from __future__ import annotations

import time
from pathlib import Path

from engine import LLM, SamplingParams
from engine.params import Grammar

MODEL = Path(__file__).parents[1] / "models" / "shipped" / "tidar-python-5m"
ANY_TEXT = Grammar("regex", "(?s:.*)")
PAIRS = 30
TOKENS = 48
SPECIAL_TOKENS = (0, 1, 2, 3)


def seconds_per_token(llm: LLM, batch: int, grammar: Grammar | None) -> tuple[float, list[list[int]]]:
    """Process time per token of one run, and its tokens."""
    barred = dict.fromkeys(SPECIAL_TOKENS, -100.0)
    each = [
        SamplingParams(
            temperature=0.8, seed=seed, max_tokens=TOKENS, ignore_eos=True, logit_bias=barred, grammar=grammar
        )
        for seed in range(batch)
    ]
    began = time.process_time()
    said = [completion.token_ids for completion in llm.generate(["def f(x):\n"] * batch, each)]
    return (time.process_time() - began) / (batch * TOKENS), said


def overhead(llm: LLM, batch: int) -> float:
    """The grammar's extra time, as a share: the quickest run with it against the quickest without."""
    seconds_per_token(llm, batch, ANY_TEXT)
    free, bound = [], []
    for _ in range(PAIRS):
        seconds, expected = seconds_per_token(llm, batch, None)
        free.append(seconds)
        seconds, said = seconds_per_token(llm, batch, ANY_TEXT)
        bound.append(seconds)
        if said != expected:
            raise SystemExit("The grammar changed the tokens, so the pair compares nothing.")
    return min(bound) / min(free) - 1


def main() -> None:
    for name, settings in (("ar", {"decoding": "ar"}), ("tidar k=4 full", {"draft_length": 4, "predrafts": "full"})):
        llm = LLM(MODEL, threads=1, **settings)
        for batch in (1, 8):
            print(f"{name}, batch {batch}: {overhead(llm, batch):+.1%}", flush=True)


if __name__ == "__main__":
    main()
