"""Rotary position embeddings: the frequency tables of the supported scaling kinds, and the rotation itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.errors import ModelError
from models.fields import flag, number, section, whole

KINDS = ("default", "linear", "llama3", "yarn")
OPTIONAL = (
    "low_freq_factor",
    "high_freq_factor",
    "beta_fast",
    "beta_slow",
    "attention_factor",
    "mscale",
    "mscale_all_dim",
)


@dataclass(frozen=True)
class Rope:
    """Parameters of the rotary embedding, under the names that config.json uses.

    kind "default" is RoFormer (arXiv 2104.09864); "linear" divides positions by `factor`; "llama3" is the
    wavelength-dependent interpolation of Llama 3.1; "yarn" is arXiv 2309.00071.
    """

    kind: str = "default"
    theta: float = 10_000.0
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    #: queries at position p are scaled by 1 + beta · ln(1 + floor(p / original_max_position_embeddings))
    query_beta: float | None = None

    @classmethod
    def from_config(cls, raw: dict[str, Any], scaled_queries: bool = False) -> Rope:
        """Read `rope_parameters` (transformers 5) or `rope_theta` with `rope_scaling` (earlier).

        `scaled_queries` is for families whose queries grow with their position, by `llama_4_scaling_beta` there.
        """
        given = {**section(raw, "rope_scaling"), **section(raw, "rope_parameters")}
        kind = given.get("rope_type") or given.get("type") or "default"
        if kind not in KINDS:
            raise ModelError(f"RoPE scaling kind {kind!r} is not supported; {', '.join(KINDS)} are.")
        if number(raw, "partial_rotary_factor", 1.0) != 1.0 or number(given, "partial_rotary_factor", 1.0) != 1.0:
            raise ModelError("partial_rotary_factor other than 1 is not supported.")
        theta = number(given, "rope_theta", number(raw, "rope_theta", 10_000.0))
        beta = number(given, "llama_4_scaling_beta") if scaled_queries else None
        if kind == "default" and beta is None:
            return cls(theta=theta)
        positions = whole(raw, "max_position_embeddings", 2048)
        original = whole(given, "original_max_position_embeddings", positions)
        original = whole(raw, "original_max_position_embeddings", original)
        if kind not in ("yarn", "default") and given.get("factor") is None:
            raise ModelError(f"RoPE scaling kind {kind!r} needs a factor in config.json.")
        rope = cls(
            kind=kind,
            theta=theta,
            factor=number(given, "factor", positions / original),
            original_max_position_embeddings=original,
            truncate=flag(given, "truncate", default=True),
            query_beta=beta,
            **{key: number(given, key, 1.0) for key in OPTIONAL if given.get(key) is not None},
        )
        if rope.low_freq_factor >= rope.high_freq_factor:
            raise ModelError("RoPE scaling kind 'llama3' needs low_freq_factor below high_freq_factor.")
        return rope

    def scaling(self) -> dict[str, Any] | None:
        """The `rope_scaling` section of config.json that `from_config` reads back."""
        if self.kind == "default" and self.query_beta is None:
            return None
        given: dict[str, Any] = {"rope_type": self.kind}
        if self.kind != "default":
            given["factor"] = self.factor
        if self.kind in ("llama3", "yarn") or self.query_beta is not None:
            given["original_max_position_embeddings"] = self.original_max_position_embeddings
        if self.kind == "llama3":
            given |= {"low_freq_factor": self.low_freq_factor, "high_freq_factor": self.high_freq_factor}
        if self.kind == "yarn":
            given |= {"beta_fast": self.beta_fast, "beta_slow": self.beta_slow, "truncate": self.truncate}
        optional = {key: getattr(self, key) for key in ("attention_factor", "mscale", "mscale_all_dim")}
        given |= {key: value for key, value in optional.items() if value is not None}
        if self.query_beta is not None:
            given["llama_4_scaling_beta"] = self.query_beta
        return given

    def tables(self, head_dim: int, positions: int) -> tuple[Tensor, Tensor]:
        """cos and signed sin, each float64 [positions, head_dim], for `rotate`.

        The first half of sin is negated, so that a rotation is x·cos + roll(x, head_dim/2)·sin.
        """
        cos, sin = (torch.empty(positions, head_dim, dtype=torch.float64) for _ in range(2))
        self.fill_tables(cos, sin)
        return cos, sin

    def fill_tables(self, cos: Tensor, sin: Tensor) -> None:
        """Write `tables` into cos and sin [positions, head_dim] of any dtype and device, each entry rounded once."""
        positions, head_dim = cos.shape
        half = head_dim // 2
        frequencies, scale = self.frequencies(head_dim)
        # in pieces, so that long contexts need no float64 copy of the tables
        for start in range(0, positions, 4096):
            rows = slice(start, min(start + 4096, positions))
            angles = torch.outer(torch.arange(rows.start, rows.stop, dtype=torch.float64), frequencies)
            cosine, sine = angles.cos() * scale, angles.sin() * scale
            cos[rows, :half], cos[rows, half:] = cosine, cosine
            sin[rows, :half], sin[rows, half:] = -sine, sine

    def query_scales(self, positions: int) -> Tensor | None:
        """What queries at each position are multiplied with, float64 [positions]; None where it is 1 at all of them."""
        if self.query_beta is None or positions <= self.original_max_position_embeddings:
            return None
        turns = torch.arange(positions) // self.original_max_position_embeddings
        return 1 + self.query_beta * (1 + turns).double().log()

    def frequencies(self, head_dim: int) -> tuple[Tensor, float]:
        """Inverse frequencies, float64 [head_dim / 2], and the factor on cos and sin."""
        base = self.theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        if self.kind == "linear":
            return base / self.factor, 1.0
        if self.kind == "llama3":
            return self._llama3(base), 1.0
        if self.kind == "yarn":
            return self._yarn(base, head_dim), self._yarn_scale()
        return base, 1.0

    def _llama3(self, base: Tensor) -> Tensor:
        turns = self.original_max_position_embeddings * base / (2 * math.pi)
        smooth = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        smooth = smooth.clamp(0, 1)
        return base * smooth + base / self.factor * (1 - smooth)

    def _yarn(self, base: Tensor, head_dim: int) -> Tensor:
        def dimension(turns: float) -> float:
            length = self.original_max_position_embeddings
            return head_dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(self.theta))

        low, high = dimension(self.beta_fast), dimension(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_dim - 1)
        ramp = (torch.arange(head_dim // 2, dtype=torch.float64) - low) / ((high - low) or 1e-3)
        interpolated = ramp.clamp(0, 1)
        return base / self.factor * interpolated + base * (1 - interpolated)

    def _yarn_scale(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor

        def scale(mscale: float) -> float:
            return 0.1 * mscale * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0

        if self.mscale and self.mscale_all_dim:
            return scale(self.mscale) / scale(self.mscale_all_dim)
        return scale(1.0)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads x [tokens, heads, head_dim] by cos, sin [tokens, 1, head_dim] of `Rope.tables`."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
