"""What a checkpoint's own config.json says, reduced to what the decoder and the engine need."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.fields import flag, number, section, token_ids, whole
from models.folder import eos_token_ids, read_config
from models.rope import Rope

#: longest context that rotary tables are built for, in tokens
MAX_POSITIONS = 2**21


@dataclass(frozen=True)
class Family:
    """What an architecture fixes or leaves unsaid in its config.json."""

    model_type: str
    qkv_bias: bool = False
    qk_norm: bool = False
    #: config.json's attention_bias (q, k, v and output) and mlp_bias are heeded
    attention_bias: bool = False
    mlp_bias: bool = False
    #: a sliding_window counts only where use_sliding_window is set
    window_switch: bool = False
    head_dim: int | None = None
    num_kv_heads: int | None = None
    max_positions: int = 32768


#: architectures the one decoder covers
FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": Family("llama", attention_bias=True, mlp_bias=True, max_positions=2048),
    "MistralForCausalLM": Family("mistral", num_kv_heads=8, max_positions=131072),
    "Qwen2ForCausalLM": Family("qwen2", qkv_bias=True, window_switch=True, num_kv_heads=32),
    "Qwen3ForCausalLM": Family(
        "qwen3", qk_norm=True, attention_bias=True, window_switch=True, head_dim=128, num_kv_heads=32
    ),
}


@dataclass(frozen=True)
class DraftConfig:
    """How a checkpoint drafts: the `tidar` section of its config.json.

    `shift` is 0 where a mask token predicts its own position (TiDAR) and 1 where it predicts the next one.
    """

    mask_token_id: int
    draft_length: int
    scheme: str = "tidar"
    shift: int = 0


@dataclass(frozen=True)
class ModelConfig:
    """Shape of one decoder of the Llama family. Sizes are in elements, lengths in tokens."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    rope: Rope = field(default_factory=Rope)
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tie_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    dtype: str = "float32"
    draft: DraftConfig | None = None

    @property
    def query_size(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        return self.num_kv_heads * self.head_dim

    @classmethod
    def from_folder(cls, folder: Path) -> ModelConfig:
        """Read config.json, and the end tokens of generation_config.json; raises ModelError where they are no use."""
        raw = read_config(folder)
        return replace(cls.from_dict(raw), eos_token_ids=eos_token_ids(folder, raw))

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ModelConfig:
        """Build from a parsed config.json of a supported architecture; unsupported keys are named in the error."""
        architecture = _architecture(raw)
        family = FAMILIES[architecture]
        heads = whole(raw, "num_attention_heads")
        hidden = whole(raw, "hidden_size")
        bias = family.attention_bias and flag(raw, "attention_bias")
        if raw.get("hidden_act", "silu") not in ("silu", "swish"):
            raise ModelError(f"config.json has hidden_act {raw['hidden_act']!r}, and only 'silu' is supported.")
        config = cls(
            architecture=architecture,
            vocab_size=whole(raw, "vocab_size"),
            hidden_size=hidden,
            intermediate_size=whole(raw, "intermediate_size"),
            num_layers=whole(raw, "num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=_kv_heads(raw, family, heads),
            head_dim=whole(raw, "head_dim", family.head_dim or hidden // heads),
            max_position_embeddings=_context_length(raw, family),
            rms_norm_eps=number(raw, "rms_norm_eps", 1e-6),
            rope=Rope.from_config(raw),
            qkv_bias=family.qkv_bias or bias,
            output_bias=bias,
            mlp_bias=family.mlp_bias and flag(raw, "mlp_bias"),
            qk_norm=family.qk_norm,
            tie_embeddings=flag(raw, "tie_word_embeddings"),
            bos_token_id=next(iter(token_ids(raw, "bos_token_id")), None),
            eos_token_ids=token_ids(raw, "eos_token_id"),
            dtype=str(raw.get("dtype") or raw.get("torch_dtype") or "float32"),
            draft=_draft(raw),
        )
        config.check()
        return config

    def to_dict(self) -> dict[str, Any]:
        """The config.json that `from_dict` and transformers read back as this config."""
        raw: dict[str, Any] = {
            "architectures": [self.architecture],
            "model_type": FAMILIES[self.architecture].model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope.theta,
            "rope_scaling": self.rope.scaling(),
            "attention_bias": self.output_bias,
            "mlp_bias": self.mlp_bias,
            "sliding_window": None,
            "tie_word_embeddings": self.tie_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_ids[0] if len(self.eos_token_ids) == 1 else list(self.eos_token_ids) or None,
            "dtype": self.dtype,
        }
        if self.draft is not None:
            raw["tidar"] = asdict(self.draft)
        return raw

    def check(self) -> None:
        """Refuse shapes that no decoder can have. Raises ModelError."""
        if self.num_heads % self.num_kv_heads:
            raise ModelError(
                f"config.json asks for {self.num_heads} query heads over {self.num_kv_heads} KV heads, "
                f"which do not divide."
            )
        if self.head_dim % 2:
            raise ModelError(f"head_dim {self.head_dim} is odd, and rotary embeddings need pairs.")
        if self.max_position_embeddings > MAX_POSITIONS:
            raise ModelError(
                f"config.json asks for {self.max_position_embeddings} positions; at most {MAX_POSITIONS} are supported."
            )
        if self.draft is not None and not 0 <= self.draft.mask_token_id < self.vocab_size:
            raise ModelError(
                f"tidar.mask_token_id {self.draft.mask_token_id} lies outside the vocabulary "
                f"of {self.vocab_size} tokens."
            )


def _architecture(raw: dict[str, Any]) -> str:
    given = raw.get("architectures") or []
    names = given if isinstance(given, list) else [given]
    for name in names:
        if name in FAMILIES:
            return str(name)
    if not names:
        for name, family in FAMILIES.items():
            if raw.get("model_type") == family.model_type:
                return name
    described = ", ".join(map(str, names)) or raw.get("model_type") or "nothing"
    raise ModelError(f"config.json names {described} under architectures; supported are {', '.join(FAMILIES)}.")


def _kv_heads(raw: dict[str, Any], family: Family, heads: int) -> int:
    """Absent means the family's default, null as many as there are query heads."""
    unsaid = heads if "num_key_value_heads" in raw else family.num_kv_heads or heads
    return whole(raw, "num_key_value_heads", unsaid)


def _context_length(raw: dict[str, Any], family: Family) -> int:
    """Positions the model was built for; a sliding window bounds them, since the cache keeps every token."""
    length = whole(raw, "max_position_embeddings", family.max_positions)
    if raw.get("sliding_window") and flag(raw, "use_sliding_window", default=not family.window_switch):
        length = min(length, whole(raw, "sliding_window"))
    return length


def _draft(raw: dict[str, Any]) -> DraftConfig | None:
    if raw.get("tidar") is None:
        return None
    given = section(raw, "tidar")
    unknown = set(given) - {"mask_token_id", "draft_length", "scheme", "shift"}
    if unknown:
        raise ModelError(f"The tidar section of config.json has unknown keys: {', '.join(sorted(unknown))}.")
    scheme, shift = given.get("scheme", "tidar"), given.get("shift", 0)
    if scheme != "tidar" or shift != 0 or isinstance(shift, bool):
        raise ModelError(f"Drafting scheme {scheme!r} with shift {shift!r} is not supported; 'tidar' with shift 0 is.")
    mask = given.get("mask_token_id")
    if not isinstance(mask, int) or isinstance(mask, bool):
        raise ModelError("The tidar section of config.json needs mask_token_id, a token id.")
    return DraftConfig(mask_token_id=mask, draft_length=whole(given, "draft_length"), scheme=scheme, shift=shift)
