"""The table of architectures that the one decoder covers: their config keys, tensor names and ways of drafting.

Keys and names are those of the published checkpoints and of the configuration and modelling files beside them
(transformers for the AR families; the model repositories of NVIDIA's Nemotron-Labs-Diffusion and Efficient-DLM,
OpenGVLab's SDLM, JetLM's SDAR, I-DLM, GSAI-ML's LLaDA and HKU's Dream for the others).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Names:
    """What a checkpoint calls its tensors; modules of a layer come after `layer`, which holds the layer's number.

    Tensors whose names begin with one of `ignored` are parts that text needs nothing of.
    """

    embedding: str = "model.embed_tokens.weight"
    layer: str = "model.layers.{}."
    norm: str = "model.norm.weight"
    head: str = "lm_head.weight"
    attention_norm: str = "input_layernorm"
    q: str = "self_attn.q_proj"
    k: str = "self_attn.k_proj"
    v: str = "self_attn.v_proj"
    q_norm: str = "self_attn.q_norm"
    k_norm: str = "self_attn.k_norm"
    output: str = "self_attn.o_proj"
    mlp_norm: str = "post_attention_layernorm"
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    ignored: tuple[str, ...] = ()


NEMOTRON_NAMES = Names(
    embedding="encoder.embed_tokens.weight",
    layer="encoder.layers.{}.",
    norm="encoder.norm.weight",
    head="diffusion_head.weight",
)
LLADA_NAMES = Names(
    embedding="model.transformer.wte.weight",
    layer="model.transformer.blocks.{}.",
    norm="model.transformer.ln_f.weight",
    head="model.transformer.ff_out.weight",
    attention_norm="attn_norm",
    q="q_proj",
    k="k_proj",
    v="v_proj",
    output="attn_out",
    mlp_norm="ff_norm",
    gate="ff_proj",
    up="up_proj",
    down="ff_out",
)
MISTRAL3_NAMES = Names(
    embedding="language_model.model.embed_tokens.weight",
    layer="language_model.model.layers.{}.",
    norm="language_model.model.norm.weight",
    head="language_model.lm_head.weight",
    ignored=("vision_tower.", "multi_modal_projector."),
)
LLADA_KEYS = {
    "vocab_size": "embedding_size",
    "hidden_size": "d_model",
    "intermediate_size": "mlp_hidden_size",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "max_position_embeddings": "max_sequence_length",
    "tie_word_embeddings": "weight_tying",
    "hidden_act": "activation_type",
}
#: what else a LLaDA config may ask for, and the one value that the decoder computes
LLADA_FIXED: dict[str, object] = {
    "block_type": "llama",
    "layer_norm_type": "rms",
    "rope": True,
    "alibi": False,
    "attention_layer_norm": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "multi_query_attention": False,
}


@dataclass(frozen=True)
class DraftKeys:
    """Where a published config.json says that and how a model drafts.

    Holds where `mask_key` is there or `mask_token_id` is its default, and where the flag `when`, if one is named, is
    true. The draft length is `length_key` + `longer`, or `draft_length` where the config does not say.
    """

    scheme: str
    shift: int
    mask_key: str = "mask_token_id"
    mask_token_id: int | None = None
    length_key: str = "block_size"
    draft_length: int = 4
    longer: int = 0
    when: str | None = None


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
    #: transformers does not run it without a sliding_window
    always_window: bool = False
    #: queries grow with their position, by llama_4_scaling_beta of rope_parameters
    scaled_queries: bool = False
    head_dim: int | None = None
    num_kv_heads: int | None = None
    max_positions: int = 32768
    rms_norm_eps: float = 1e-6
    names: Names = field(default_factory=Names)
    #: config keys that have another name here
    keys: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, object] = field(default_factory=dict)
    #: the object inside config.json that describes the text model
    section: str | None = None
    drafts: tuple[DraftKeys, ...] = ()

    def key(self, name: str) -> str:
        """What this family's config.json calls a key."""
        return self.keys.get(name, name)


FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": Family("llama", attention_bias=True, mlp_bias=True, max_positions=2048),
    "MistralForCausalLM": Family("mistral", num_kv_heads=8, max_positions=131072),
    "MinistralForCausalLM": Family("ministral", always_window=True, num_kv_heads=8, max_positions=131072),
    "Ministral3ForCausalLM": Family(
        "ministral3", scaled_queries=True, head_dim=128, num_kv_heads=8, max_positions=262144, rms_norm_eps=1e-5
    ),
    "Mistral3ForConditionalGeneration": Family("mistral3", names=MISTRAL3_NAMES, section="text_config"),
    "Qwen2ForCausalLM": Family(
        "qwen2",
        qkv_bias=True,
        window_switch=True,
        num_kv_heads=32,
        # SDLM
        drafts=(DraftKeys("sdlm", shift=1, mask_key="text_mask_token_id"),),
    ),
    "Qwen3ForCausalLM": Family(
        "qwen3", qk_norm=True, attention_bias=True, window_switch=True, head_dim=128, num_kv_heads=32
    ),
    "NemotronLabsDiffusionModel": Family(
        "nemotron_labs_diffusion",
        scaled_queries=True,
        head_dim=128,
        num_kv_heads=8,
        max_positions=262144,
        rms_norm_eps=1e-5,
        names=NEMOTRON_NAMES,
        drafts=(DraftKeys("linear", shift=0, mask_token_id=100, draft_length=32),),
    ),
    "DiffEncoderModel": Family(
        "diff_encoder",
        qk_norm=True,
        attention_bias=True,
        head_dim=128,
        num_kv_heads=32,
        names=NEMOTRON_NAMES,
        drafts=(DraftKeys("prompt-block", shift=0, mask_token_id=151662, draft_length=32),),
    ),
    "SDARForCausalLM": Family(
        "sdar",
        qk_norm=True,
        attention_bias=True,
        window_switch=True,
        head_dim=128,
        num_kv_heads=32,
        drafts=(
            # I-DLM is trained on blocks of one token less than it decodes in a stride
            DraftKeys("idlm", shift=1, mask_token_id=151669, draft_length=4, longer=1, when="use_regular_causal"),
            DraftKeys("block", shift=0, mask_token_id=151669),
        ),
    ),
    "LLaDAModelLM": Family(
        "llada",
        max_positions=1024,
        rms_norm_eps=1e-5,
        names=LLADA_NAMES,
        keys=LLADA_KEYS,
        fixed=LLADA_FIXED,
        drafts=(DraftKeys("denoise", shift=0, mask_token_id=126336, draft_length=32),),
    ),
    "DreamModel": Family(
        "Dream",
        qkv_bias=True,
        window_switch=True,
        num_kv_heads=32,
        drafts=(DraftKeys("denoise", shift=1, mask_token_id=151666, draft_length=32),),
    ),
}
