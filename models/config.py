"""What a checkpoint's own config.json says, reduced to what the decoder and the engine need."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from models.drafting import DraftConfig, read_drafting
from models.errors import ModelError
from models.families import FAMILIES, Family, Names
from models.fields import flag, number, section, token_ids, whole
from models.folder import eos_token_ids, read_config
from models.rope import Rope

#: longest context that rotary tables are built for, in tokens
MAX_POSITIONS = 2**21


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
    def names(self) -> Names:
        """What a checkpoint of this architecture calls its tensors."""
        return FAMILIES[self.architecture].names

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
        text, family = _text_model(raw, FAMILIES[architecture])
        _check_fixed(text, family)
        key = family.key
        heads = whole(text, key("num_attention_heads"))
        hidden = whole(text, key("hidden_size"))
        bias = family.attention_bias and flag(text, "attention_bias")
        config = cls(
            architecture=architecture,
            vocab_size=whole(text, key("vocab_size"), text.get("vocab_size")),
            hidden_size=hidden,
            intermediate_size=whole(text, key("intermediate_size")),
            num_layers=whole(text, key("num_hidden_layers")),
            num_heads=heads,
            num_kv_heads=_kv_heads(text, family, heads),
            head_dim=whole(text, "head_dim", family.head_dim or hidden // heads),
            max_position_embeddings=_context_length(text, family),
            rms_norm_eps=number(text, "rms_norm_eps", family.rms_norm_eps),
            rope=Rope.from_config(text, family.scaled_queries),
            qkv_bias=family.qkv_bias or bias,
            output_bias=bias,
            mlp_bias=family.mlp_bias and flag(text, "mlp_bias"),
            qk_norm=family.qk_norm,
            tie_embeddings=_tied(raw, text, family),
            bos_token_id=next(iter(token_ids(text, "bos_token_id")), None),
            eos_token_ids=token_ids(text, "eos_token_id"),
            dtype=str(text.get("dtype") or text.get("torch_dtype") or raw.get("dtype") or "float32"),
            draft=read_drafting(raw, text, family),
        )
        config.check()
        return config

    def to_dict(self) -> dict[str, Any]:
        """The config.json that `from_dict` and transformers read back as this config."""
        family = FAMILIES[self.architecture]
        text: dict[str, Any] = {
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
            "sliding_window": self.max_position_embeddings if family.always_window else None,
            "tie_word_embeddings": self.tie_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_ids[0] if len(self.eos_token_ids) == 1 else list(self.eos_token_ids) or None,
            "dtype": self.dtype,
            **family.fixed,
        }
        text = {family.key(name): value for name, value in text.items()}
        raw: dict[str, Any] = {"architectures": [self.architecture], "model_type": family.model_type}
        if family.section is None:
            raw |= text
        else:
            inner = "mistral" if self.rope.query_beta is None else "ministral3"
            raw |= {"tie_word_embeddings": self.tie_embeddings, family.section: {"model_type": inner, **text}}
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
                f"mask_token_id {self.draft.mask_token_id} lies outside the vocabulary of {self.vocab_size} tokens."
            )


def _architecture(raw: dict[str, Any]) -> str:
    given = raw.get("architectures") or []
    names = given if isinstance(given, list) else [given]
    for name in names:
        if isinstance(name, str) and name in FAMILIES:
            return name
    if not names:
        for name, family in FAMILIES.items():
            if raw.get("model_type") == family.model_type:
                return name
    described = ", ".join(map(str, names)) or raw.get("model_type") or "nothing"
    moe = " (mixtures of experts are not covered)" if "moe" in str(described).lower() else ""
    raise ModelError(f"config.json names {described} under architectures{moe}; supported are {', '.join(FAMILIES)}.")


def _text_model(raw: dict[str, Any], family: Family) -> tuple[dict[str, Any], Family]:
    """The part of config.json that describes the text model, and what that part's own model type means."""
    if family.section is None:
        return raw, family
    text = section(raw, family.section)
    if not text:
        raise ModelError(f"config.json needs an object for {family.section}, which describes the text model.")
    for inner in FAMILIES.values():
        if inner.section is None and text.get("model_type", "mistral") == inner.model_type:
            return text, replace(inner, names=family.names, section=family.section)
    raise ModelError(f"{family.section}.model_type {text.get('model_type')!r} in config.json is not supported.")


def _check_fixed(text: dict[str, Any], family: Family) -> None:
    for key, wanted in family.fixed.items():
        given = False if text.get(key) is None else text[key]
        if type(given) is not type(wanted) or given != wanted:
            raise ModelError(f"config.json has {key} {text.get(key)!r}, and only {wanted!r} is supported.")
    activation = family.key("hidden_act")
    if text.get(activation, "silu") not in ("silu", "swish"):
        raise ModelError(f"config.json has {activation} {text[activation]!r}, and only 'silu' is supported.")


def _kv_heads(raw: dict[str, Any], family: Family, heads: int) -> int:
    """Absent means the family's default, null as many as there are query heads."""
    key = family.key("num_key_value_heads")
    unsaid = heads if key in raw else family.num_kv_heads or heads
    return whole(raw, key, unsaid)


def _tied(raw: dict[str, Any], text: dict[str, Any], family: Family) -> bool:
    """Around a section for the text model, the outer object decides where it says anything."""
    key = family.key("tie_word_embeddings")
    return flag(text if raw.get(key) is None else raw, key)


def _context_length(raw: dict[str, Any], family: Family) -> int:
    """Positions the model was built for; a sliding window bounds them, since the cache keeps every token."""
    length = whole(raw, family.key("max_position_embeddings"), family.max_positions)
    if raw.get("sliding_window") and flag(raw, "use_sliding_window", default=not family.window_switch):
        length = min(length, whole(raw, "sliding_window"))
    return length
