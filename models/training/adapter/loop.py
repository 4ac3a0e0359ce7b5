"""The training loop of an adapter: draw answers, step, log, evaluate, checkpoint."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn

from models.adapter import storage
from models.adapter.config import AdapterConfig, Base
from models.checkpoint import load_decoder
from models.errors import ModelError
from models.training.adapter.answers import Answer, read_answers
from models.training.adapter.evaluate import Worth, evaluate
from models.training.adapter.objective import Blocks, every, loss
from models.training.adapter.settings import AdapterTraining


def train_adapter(config: AdapterTraining) -> Path:
    """Run, or go on with, a training until its budget is spent; returns the last checkpoint.

    A run that finds checkpoint.pt in its output folder resumes it. Ctrl-C leaves a checkpoint behind. The file of
    answers may grow meanwhile: it is read again for every pass over it.
    """
    run = AdapterRun(config)
    percent = TextColumn("{task.percentage:>3.0f}%")
    with Progress(TextColumn("{task.description}"), BarColumn(), percent, TimeElapsedColumn()) as bar:
        task = bar.add_task("adapter", total=1.0)
        try:
            while run.progress() < 1.0:
                bar.update(task, description=run.step(), completed=run.progress())
        finally:
            run.save()
    run.log({"evaluation": run.evaluation().to_dict()})
    return run.path


def export_adapter(checkpoint: Path, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a run's checkpoint.pt as a folder that `--adapter` takes."""
    state = read_state(checkpoint)
    config = AdapterConfig(folder, state["rank"], state["draft_length"], Base(**state["base"]))
    storage.save(config, state["adapter"], dtype)


class AdapterRun:
    """The state of one training: the adapter on its frozen model, the optimiser, and how far it is."""

    def __init__(self, config: AdapterTraining) -> None:
        self.config, self.path = config, config.output / "checkpoint.pt"
        config.output.mkdir(parents=True, exist_ok=True)
        self.device = torch.device(_device(config.device))
        self.decoder = load_decoder(config.model, torch.float32, self.device)
        self.base = Base.of(self.decoder.config, self.decoder.embed.weight)
        self.held_out = self._read(config.held_out)[: config.held_out_answers]
        self.steps, self.rows, self.seconds = 0, 0, 0.0
        state = read_state(self.path) if self.path.exists() else None
        tensors = state["adapter"] if state else storage.fresh(self.decoder, config.rank, config.draft_length)
        storage.apply(self.decoder, tensors)
        self.parameters = storage.parameters(self.decoder)
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98), weight_decay=0.0)
        if state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.steps, self.rows, self.seconds = state["steps"], state["rows"], state["seconds"]
        self.order: list[Answer] = []
        self.spoken = torch.zeros(0, dtype=torch.int64)
        self.clock = self.saved = self.evaluated = time.monotonic()

    def progress(self) -> float:
        return self.config.budget.progress(self.rows, self.seconds)

    def step(self) -> str:
        """One optimiser step; returns a line for the progress bar."""
        config = self.config
        rng = random.Random(f"{config.seed}/{self.steps}")
        answers = [self._next(rng) for _ in range(config.batch_answers)]
        starts = [every(config.stride, rng.randrange(config.stride), answer) for answer in answers]
        blocks = Blocks(answers, starts, config.draft_length)
        total, right = loss(self.decoder, blocks, torch.tensor(self._weights()), self._candidates())
        total.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), config.clip)
        factor = config.schedule.factor(self.steps, self.progress())
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * factor * group["rate"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.rows += sum(map(len, starts)) * config.draft_length
        now = time.monotonic()
        self.seconds, self.clock = self.seconds + now - self.clock, now
        return self._report(float(total.detach()), right.tolist(), factor)

    def evaluation(self) -> Worth:
        """On the same held-out answers every time."""
        return evaluate(self.decoder, self.held_out, self.config.draft_length)

    def save(self) -> None:
        """Replace checkpoint.pt whole, so that a kill at any moment leaves a usable one."""
        state = {
            "adapter": {name: parameter.detach() for name, parameter in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "rows": self.rows,
            "seconds": self.seconds,
            "rank": self.config.rank,
            "draft_length": self.config.draft_length,
            "base": vars(self.base),
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)
        self.saved = time.monotonic()

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to log.jsonl."""
        head = {"step": self.steps, "rows": self.rows, "seconds": round(self.seconds, 1)}
        with (self.config.output / "log.jsonl").open("a") as out:
            out.write(json.dumps(head | entry) + "\n")

    def _read(self, path: Path) -> list[Answer]:
        longest = min(self.config.longest, self.decoder.config.max_position_embeddings)
        answers = read_answers(path, self.decoder.config.vocab_size, longest)
        if not answers:
            raise ModelError(f"{path} holds no answers of at least two tokens: write some with `tidar answers`.")
        return answers

    def _next(self, rng: random.Random) -> Answer:
        """Every answer once in an order of its own, then all that are there by now again."""
        if not self.order:
            self.order = self._read(self.config.answers)
            self.spoken = torch.tensor(sorted({token for answer in self.order for token in answer.answer}))
            rng.shuffle(self.order)
        return self.order.pop()

    def _weights(self) -> list[float]:
        """By place; places beyond the settings weigh like the last of them."""
        given = list(self.config.place_weights)
        return (given + given[-1:] * self.config.draft_length)[: self.config.draft_length]

    def _candidates(self) -> Tensor | None:
        """Sorted ids of the tokens that compete in this step's loss, or None for the whole vocabulary."""
        vocab, count = self.decoder.config.vocab_size, self.config.sampled_vocabulary
        if not count or len(self.spoken) + count >= vocab:
            return None
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.steps)
        others = torch.randint(0, vocab, (count,), generator=generator)
        candidates: Tensor = torch.cat([self.spoken, others]).unique()
        return candidates.to(self.device)

    def _groups(self) -> list[dict[str, Any]]:
        """LoRA's second factors learn at a rate of their own (arXiv 2402.12354)."""
        ups = [parameter for name, parameter in self.parameters.items() if name.endswith(".up")]
        rest = [parameter for name, parameter in self.parameters.items() if not name.endswith(".up")]
        return [{"params": ups, "rate": self.config.up_rate}, {"params": rest, "rate": 1.0}]

    def _report(self, total: float, right: list[float], factor: float) -> str:
        config = self.config
        if self.steps % config.log_every == 0:
            self.log({"loss": total, "right": [round(share, 4) for share in right], "lr_factor": factor})
        now = time.monotonic()
        if now - self.evaluated > config.evaluate_seconds:
            self.log({"evaluation": self.evaluation().to_dict()})
            self.evaluated = self.clock = time.monotonic()
        if now - self.saved > config.checkpoint_seconds:
            self.save()
        return f"step {self.steps}  loss {total:.3f}  {self.rows / max(self.seconds, 1e-9):,.0f} masks/s"


def read_state(checkpoint: Path) -> dict[str, Any]:
    """A run's checkpoint.pt, on the CPU; read as data only."""
    if not checkpoint.exists():
        raise ModelError(f"There is no checkpoint at {checkpoint}.")
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return state


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
