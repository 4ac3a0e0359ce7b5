"""The training loop: draw a batch, step, log, evaluate, checkpoint; every draw follows from the step alone."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tokenizers import Tokenizer
from torch import nn

from models.checkpoint import load_decoder, save_decoder
from models.decoder import Decoder, Layer
from models.errors import ModelError
from models.training.block_mask import BlockLayout
from models.training.dataset import TokenFile
from models.training.evaluate import Evaluation, evaluate, evaluate_in_parts
from models.training.objective import ForwardPass, Losses, ar_losses, tidar_losses
from models.training.optimizer import Optimizer
from models.training.settings import TrainConfig
from models.training.tokenizer_training import END, MASK, TURN_END, special_id

#: draft length of the logged evaluation and of the exported config
REPORTED_DRAFT_LENGTH = 4
EVALUATION_WINDOWS, EVALUATION_LENGTH = 16, 512


def train(config: TrainConfig) -> Path:
    """Run, or go on with, a training until its budget is spent; returns the last checkpoint.

    A run that finds checkpoint.pt in its output folder resumes it exactly. Ctrl-C leaves a checkpoint behind.
    """
    run = Run(config)
    percent = TextColumn("{task.percentage:>3.0f}%")
    with Progress(TextColumn("{task.description}"), BarColumn(), percent, TimeElapsedColumn()) as bar:
        task = bar.add_task(config.objective, total=1.0)
        try:
            while run.progress() < 1.0:
                bar.update(task, description=run.step(), completed=run.progress())
        finally:
            run.save()
    run.log({"evaluation": run.evaluation().to_dict()})
    return run.path


def export_model(checkpoint: Path, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a run's checkpoint.pt as config.json and model.safetensors into `folder`, which has a tokenizer."""
    state = _read(checkpoint)
    tokenizer = _tokenizer(folder)
    decoder = build_decoder(state["config"], tokenizer)
    decoder.load_state_dict(state["decoder"])
    save_decoder(decoder, folder, dtype)


def measure(checkpoint: Path, data: Path, draft_lengths: tuple[int, ...], windows: int = 64) -> dict[str, object]:
    """What a checkpoint is worth on the first `windows` held-out windows of `data`, for several draft lengths.

    Losses are nats per token. Computes in float32 on the CPU.
    """
    state, tokenizer = _read(checkpoint), _tokenizer(data)
    decoder = build_decoder(state["config"], tokenizer)
    decoder.load_state_dict(state["decoder"])
    length = min(EVALUATION_LENGTH, decoder.config.max_position_embeddings)
    text = TokenFile(data / "held_out.bin").batch(0, windows, length, seed=0)
    mask = special_id(tokenizer, MASK)
    results = {k: evaluate_in_parts(ForwardPass(decoder, torch.float32), text, k, mask) for k in draft_lengths}
    characters = sum(len(tokenizer.decode(row, skip_special_tokens=False)) for row in text.tolist())
    return {
        "steps": state["steps"],
        "tokens": state["tokens"],
        "measured_tokens": text.numel(),
        "characters_per_token": characters / text.numel(),
        "draft_lengths": {k: result.to_dict() for k, result in results.items()},
    }


def build_decoder(config: TrainConfig, tokenizer: Tokenizer) -> Decoder:
    """A fresh decoder of the run's shape; its special tokens are the tokenizer's."""
    eos = (special_id(tokenizer, END), special_id(tokenizer, TURN_END))
    decoder = Decoder(config.shape.config(eos, special_id(tokenizer, MASK), REPORTED_DRAFT_LENGTH))
    nn.init.normal_(decoder.embed.weight, std=0.02)
    for layer in decoder.layers:
        assert isinstance(layer, Layer)
        # residual branches start silent, so that depth costs nothing at the first steps
        nn.init.zeros_(layer.output.weight)
        nn.init.zeros_(layer.down.weight)
    return decoder


class Run:
    """The state of one training: weights, optimiser, and how far it is."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.path = config, config.output / "checkpoint.pt"
        config.output.mkdir(parents=True, exist_ok=True)
        self.train_tokens = TokenFile(config.data / "train.bin")
        self.held_out = TokenFile(config.data / "held_out.bin")
        tokenizer = _tokenizer(config.data)
        self.mask_token_id = special_id(tokenizer, MASK)
        torch.manual_seed(config.seed)
        self.device = config.chosen_device()
        self.decoder = build_decoder(config, tokenizer).to(self.device)
        self.steps, self.tokens, self.seconds = 0, 0, 0.0
        if config.init_from is not None and not self.path.exists():
            self._initialise(config.init_from)
        self.optimizer = Optimizer(self.decoder, config.lr, config.weight_decay)
        self.forward = ForwardPass(self.decoder, config.chosen_dtype())
        if self.path.exists():
            self._resume()
        self.clock = self.saved = time.monotonic()

    def progress(self) -> float:
        return self.config.budget.progress(self.tokens, self.seconds)

    def step(self) -> str:
        """One optimiser step; returns a line for the progress bar."""
        config, progress = self.config, self.progress()
        long = progress >= 1.0 - config.long_share
        length = config.long_length if long else config.length
        size = max(1, config.batch_tokens // length)
        losses = self._losses(size, length)
        losses.total.backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), config.clip)
        factor = config.schedule.factor(self.steps, progress)
        self.optimizer.step(factor)
        self.steps += 1
        self.tokens += size * length
        now = time.monotonic()
        self.seconds, self.clock = self.seconds + now - self.clock, now
        return self._report(losses, factor)

    def evaluation(self) -> Evaluation:
        """On the same held-out windows every time, with blocks of REPORTED_DRAFT_LENGTH."""
        length = min(EVALUATION_LENGTH, self.config.shape.context_length)
        windows = self.held_out.batch(0, EVALUATION_WINDOWS, length, seed=0).to(self.device)
        return evaluate(self.forward, windows, REPORTED_DRAFT_LENGTH, self.mask_token_id)

    def save(self) -> None:
        """Replace checkpoint.pt whole, so that a kill at any moment leaves a usable one."""
        state = {
            "decoder": self.decoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "config": self.config,
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)
        self.saved = time.monotonic()

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to log.jsonl."""
        head = {"step": self.steps, "tokens": self.tokens, "seconds": round(self.seconds, 1)}
        with (self.config.output / "log.jsonl").open("a") as out:
            out.write(json.dumps(head | entry) + "\n")

    def _losses(self, size: int, length: int) -> Losses:
        config = self.config
        windows = self.train_tokens.batch(self.steps, size, length, config.seed).to(self.device)
        if config.objective == "ar":
            return ar_losses(self.forward, windows)
        rng = random.Random(f"{config.seed}/{self.steps}")
        draft_length = rng.choices(list(config.draft_lengths), list(config.draft_lengths.values()))[0]
        layout = BlockLayout(length, draft_length, rng.randrange(draft_length))
        return tidar_losses(self.forward, windows, layout, self.mask_token_id, config.target, config.alpha)

    def _report(self, losses: Losses, factor: float) -> str:
        entry = {"loss_ar": float(losses.ar.detach()), "lr_factor": factor}
        if losses.diffusion is not None:
            entry["loss_diffusion"] = float(losses.diffusion)
        if self.steps % self.config.log_every == 0:
            self.log(entry)
        if self.steps % self.config.evaluate_every == 0:
            self.log({"evaluation": self.evaluation().to_dict()})
        if time.monotonic() - self.saved > self.config.checkpoint_seconds:
            self.save()
        rate = self.tokens / max(self.seconds, 1e-9)
        return f"step {self.steps}  ar {entry['loss_ar']:.3f}  {rate:,.0f} tokens/s"

    def _initialise(self, source: Path) -> None:
        """Take weights only, from a model folder or from another run."""
        if source.is_dir():
            state = load_decoder(source, torch.float32, self.device).state_dict()
        else:
            state = _read(source)["decoder"]
        try:
            self.decoder.load_state_dict(state)
        except RuntimeError:
            raise ModelError(f"The weights of {source} have another shape than the model to be trained.") from None

    def _resume(self) -> None:
        state = _read(self.path)
        self.decoder.load_state_dict(state["decoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.tokens, self.seconds = state["steps"], state["tokens"], state["seconds"]


def _read(checkpoint: Path) -> dict[str, Any]:
    if not checkpoint.exists():
        raise ModelError(f"There is no checkpoint at {checkpoint}.")
    # a run's own file, so its pickled settings may be trusted
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=False)
    return state


def _tokenizer(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.exists():
        raise ModelError(f"{path} is not there: run `tidar train data` first, or copy a tokenizer there.")
    return Tokenizer.from_file(str(path))
