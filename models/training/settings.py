"""Everything that decides a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from models.config import ModelConfig
from models.drafting import DraftConfig
from models.rope import Rope
from models.training.objective import DiffusionTarget, Objective
from models.training.schedule import Budget, Schedule


@dataclass(frozen=True)
class ModelShape:
    """A Qwen3 decoder with tied embeddings, small enough to train on two cores. The defaults are the shipped model."""

    vocab_size: int = 1024
    hidden_size: int = 256
    intermediate_size: int = 768
    num_layers: int = 6
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 64
    context_length: int = 1024

    def config(self, eos_token_ids: tuple[int, ...], mask_token_id: int, draft_length: int) -> ModelConfig:
        return ModelConfig(
            architecture="Qwen3ForCausalLM",
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            max_position_embeddings=self.context_length,
            rope=Rope(original_max_position_embeddings=self.context_length),
            qk_norm=True,
            tie_embeddings=True,
            eos_token_ids=eos_token_ids,
            draft=DraftConfig(mask_token_id, draft_length),
        )


@dataclass(frozen=True)
class TrainConfig:
    """One run. Lengths and batches are in clean tokens; the doubled sequence is twice as long.

    `data` holds train.bin, held_out.bin and tokenizer.json; `output` takes checkpoint.pt and log.jsonl. `init_from` is
    a model folder or another run's checkpoint.pt. `draft_lengths` maps each block length to the weight it is drawn
    with. The last `long_share` of the budget runs at `long_length`, with batches of the same number of tokens.
    """

    data: Path
    output: Path
    objective: Objective = "tidar"
    target: DiffusionTarget = "ce"
    alpha: float = 1.0
    draft_lengths: dict[int, float] = field(default_factory=lambda: {2: 0.2, 4: 0.5, 8: 0.3})
    budget: Budget = field(default_factory=Budget)
    schedule: Schedule = field(default_factory=Schedule)
    shape: ModelShape = field(default_factory=ModelShape)
    init_from: Path | None = None
    batch_tokens: int = 4096
    length: int = 256
    long_length: int = 1024
    long_share: float = 0.0
    lr: float = 4e-3
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    checkpoint_seconds: float = 120.0
    log_every: int = 10
    evaluate_every: int = 100

    def chosen_device(self) -> torch.device:
        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def chosen_dtype(self) -> torch.dtype:
        """Compute dtype: bfloat16 where the hardware multiplies it natively, else float32."""
        if self.dtype != "auto":
            return {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.dtype]
        native = self.chosen_device().type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.bfloat16 if native and _has_bf16_products(self.chosen_device()) else torch.float32


def _has_bf16_products(device: torch.device) -> bool:
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
