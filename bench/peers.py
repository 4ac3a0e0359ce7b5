"""Other software on the same weights, prompts and machine."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch


def transformers_rate(
    folder: Path, prompts: list[list[int]], max_tokens: int, repetitions: int, threads: int | None
) -> float:
    """Median tokens/s of `transformers` `generate`: greedy, float32, KV cache, one prompt at a time, no early stop.

    The better of one thread and all of them (or `threads`), as our engine has that choice too.
    """
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rates: dict[int, list[float]] = {count: [] for count in (1, threads or len(os.sched_getaffinity(0)))}
    for repetition in range(repetitions + 1):
        for count, measured in rates.items():
            torch.set_num_threads(count)
            started = time.perf_counter()
            generated = sum(_generate(model, prompt, max_tokens) for prompt in (prompts if repetition else prompts[:1]))
            if repetition:
                measured.append(generated / (time.perf_counter() - started))
    return max(median(measured) for measured in rates.values())


@torch.inference_mode()
def _generate(model: Any, prompt: list[int], max_tokens: int) -> int:
    """Tokens that one greedy generation produced."""
    tokens = torch.tensor([prompt])
    output = model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        do_sample=False,
        max_new_tokens=max_tokens,
        min_new_tokens=max_tokens,
        pad_token_id=0,
    )
    return int(output.shape[1]) - len(prompt)
