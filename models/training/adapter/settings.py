"""Everything that decides the training of an adapter."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from models.training.schedule import Budget, Schedule


@dataclass(frozen=True)
class AdapterTraining:
    """One run; lengths are in tokens, the budget's tokens are mask rows.

    `answers` and `held_out` are files of answers as `read_answers` takes them; `output` takes checkpoint.pt and
    log.jsonl. A step takes `batch_answers` answers with a block of `draft_length` masks every `stride` tokens.
    `place_weights` weigh the loss by place in the block. Of the vocabulary, what occurs in the answers and
    `sampled_vocabulary` other tokens, drawn anew every step, compete in the loss; 0 takes all. `up_rate` multiplies
    the rate of LoRA's second factors, which start from zero.
    """

    model: Path
    answers: Path
    held_out: Path
    output: Path
    rank: int = 32
    draft_length: int = 4
    stride: int = 2
    batch_answers: int = 1
    place_weights: tuple[float, ...] = (0.5, 1.0, 0.8, 0.6)
    sampled_vocabulary: int = 2048
    budget: Budget = field(default_factory=Budget)
    schedule: Schedule = field(default_factory=lambda: Schedule(warmup_steps=20))
    lr: float = 1e-3
    up_rate: float = 4.0
    clip: float = 1.0
    seed: int = 0
    device: str = "auto"
    longest: int = 1024
    held_out_answers: int = 12
    checkpoint_seconds: float = 120.0
    log_every: int = 10
    evaluate_seconds: float = 1200.0
