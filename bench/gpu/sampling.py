"""Top-k, top-p and min-p by kernels against the sort that they replace: the same tokens, and the time of both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from rich.table import Table

from bench.gpu.timing import seconds_of
from engine.params import SamplingParams
from engine.sampling.filters import Filters, filtered_log_probs
from engine.sampling.kernels.thresholds import thresholds

VOCAB = 151936
ROWS = (1, 8, 32, 128, 256)
#: what Qwen3 recommends, and the two filters by themselves
ASKED = {
    "top-k 20, top-p 0.95": SamplingParams(temperature=0.6, top_k=20, top_p=0.95),
    "top-p 0.95": SamplingParams(top_p=0.95),
    "top-k 50": SamplingParams(top_k=50),
}


@dataclass(frozen=True)
class Filtering:
    """Seconds of both ways, and the share of tokens on which they differ: those within rounding of an edge."""

    label: str
    rows: int
    seconds: float
    sort_seconds: float
    differing: float


def measure_filtering(label: str, rows: int, vocab: int, device: torch.device) -> Filtering:
    """Of random logits, whose nucleus is wide."""
    params = [ASKED[label]] * rows
    logits = 2 * torch.randn(rows, vocab, generator=torch.Generator(device).manual_seed(rows), device=device)
    filters = Filters.of(params, device)
    kept = logits / filters.temperature[:, None] >= thresholds(logits, filters)[:, None]
    differing = (kept != filtered_log_probs(logits, params).isfinite()).float().mean()
    return Filtering(
        label,
        rows,
        seconds_of(lambda: thresholds(logits, filters), device),
        seconds_of(lambda: filtered_log_probs(logits, params), device),
        float(differing),
    )


def table(found: list[Filtering]) -> Table:
    made = Table("filters", "rows", "kernels", "sort", "differing tokens", title=f"Filters, {VOCAB} tokens")
    for one in found:
        times = f"{one.seconds * 1e6:.0f} µs", f"{one.sort_seconds * 1e6:.0f} µs"
        made.add_row(one.label, str(one.rows), *times, f"{one.differing:.1e}")
    return made
