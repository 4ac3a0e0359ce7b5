"""GGUF files of every family give the logits of transformers, whatever format the matrices are kept in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf.constants
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, PreTrainedModel

from models.checkpoint import load_decoder
from models.config import ModelConfig
from models.errors import ModelError
from models.gguf.kinds import KINDS
from models.gguf.weights import GGUFWeights
from tests.models import gguf_files
from tests.models.checkpoints import FAMILIES, SIZES, logits, random_model, reference_logits
from tests.models.gguf_files import write_gguf

TOKENS = torch.randint(0, SIZES["vocab_size"], (40,), generator=torch.Generator().manual_seed(0))


def model_of(family: str, **changes: Any) -> PreTrainedModel:
    config = FAMILIES[family]()
    for key, value in changes.items():
        setattr(config, key, value)
    return random_model(config)


@pytest.mark.parametrize(
    "family",
    [
        "llama",
        "llama tied",
        "llama with own head_dim",
        "one query head per kv head",
        "mistral",
        "qwen2",
        "qwen2 tied",
        "qwen3",
        "qwen3 tied",
    ],
)
def test_logits_are_those_of_transformers(tmp_path: Path, family: str) -> None:
    model = model_of(family)
    decoder = load_decoder(write_gguf(tmp_path / "m.gguf", model), torch.float32)
    assert torch.allclose(logits(decoder, TOKENS), reference_logits(model, TOKENS), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"])
def test_matrices_in_blocks_give_the_logits_of_what_they_stand_for(tmp_path: Path, kind: str) -> None:
    model = random_model(LlamaConfig(**{**SIZES, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}))
    path = write_gguf(tmp_path / "m.gguf", model, kind)
    dtype = gguf.constants.GGMLQuantizationType[kind]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                blocks = gguf.quants.quantize(parameter.numpy(), dtype)
                parameter.copy_(torch.from_numpy(gguf.quants.dequantize(blocks, dtype)))
    decoder = load_decoder(path, torch.float32)
    assert torch.allclose(logits(decoder, TOKENS), reference_logits(model, TOKENS), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_come_in_the_dtype_that_is_asked_for(tmp_path: Path, dtype: torch.dtype) -> None:
    model = model_of("llama")
    decoder = load_decoder(write_gguf(tmp_path / "m.gguf", model), dtype)
    assert torch.equal(decoder.embed.weight, model.get_input_embeddings().weight.to(dtype))


def test_the_blocks_are_those_of_the_package() -> None:
    for number, kind in KINDS.items():
        theirs = gguf.constants.GGMLQuantizationType(number)
        assert (theirs.name, gguf.constants.GGML_QUANT_SIZES[theirs]) == (kind.name, (kind.block, kind.size))


def q4_k(block: bytes) -> list[float]:
    """Eight runs of 32: 4-bit numbers times a 6-bit scale, less a 6-bit minimum; both scaled by a float16."""
    d, dmin = (float(x) for x in np.frombuffer(block[:4], "<f2"))
    packed, quants = block[4:16], block[16:]
    values = []
    for run in range(8):
        if run < 4:
            scale, least = packed[run] & 63, packed[run + 4] & 63
        else:
            scale = (packed[run + 4] & 15) | (packed[run - 4] >> 6) << 4
            least = (packed[run + 4] >> 4) | (packed[run] >> 6) << 4
        for place in range(32):
            byte = quants[run // 2 * 32 + place]
            values.append(d * scale * (byte >> 4 if run % 2 else byte & 15) - dmin * least)
    return values


def q6_k(block: bytes) -> list[float]:
    """Sixteen runs of 16: 4 low and 2 high bits, less 32, times an 8-bit scale and a float16."""
    low, high, scales = block[:128], block[128:192], np.frombuffer(block[192:208], np.int8)
    d = float(np.frombuffer(block[208:], "<f2")[0])
    values = []
    for index in range(256):
        half, quarter, place = index // 128, index % 128 // 32, index % 32
        byte = low[half * 64 + quarter % 2 * 32 + place]
        bits = (byte >> 4 if quarter > 1 else byte & 15) | (high[half * 32 + place] >> 2 * quarter & 3) << 4
        values.append(d * float(scales[index // 16]) * (bits - 32))
    return values


@pytest.mark.parametrize(("number", "formula"), [(12, q4_k), (14, q6_k)])
def test_k_quants_follow_their_formula(tmp_path: Path, number: int, formula: Any) -> None:
    kind, generator = KINDS[number], np.random.default_rng(0)
    raw = generator.integers(0, 256, (6, kind.size * 2), np.uint8)
    tops = slice(208, 210) if number == 14 else slice(0, 4)
    for row in raw:
        for block in (row[: kind.size], row[kind.size :]):
            block[tops] = np.frombuffer(generator.normal(size=2).astype("<f2").tobytes(), np.uint8)[: len(block[tops])]
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "qwen2")
    writer.add_tensor("token_embd.weight", raw, raw_dtype=gguf.constants.GGMLQuantizationType(number))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with GGUFWeights(tmp_path / "m.gguf", 8) as weights:
        got = weights.tensor("model.embed_tokens.weight")
    expected = [formula(row[start : start + kind.size].tobytes()) for row in raw for start in (0, kind.size)]
    assert got.shape == (6, 512)
    assert np.allclose(got.numpy().reshape(12, 256), np.array(expected), atol=1e-3, rtol=1e-5)


def test_heads_are_taken_apart_in_every_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")
    path = write_gguf(tmp_path / "m.gguf", model)
    monkeypatch.setattr("models.gguf.weights.PIECE", 1)
    with GGUFWeights(path, gguf_files.head_dim(model)) as weights:
        pieces = list(weights.pieces("model.layers.1.self_attn.q_proj.weight"))
        assert [start for start, _ in pieces] == [8 * head for head in range(6)]
    assert torch.equal(load_decoder(path, torch.float32).layers[1].qkv.weight[:, :48].t(), query(model))


def query(model: PreTrainedModel) -> torch.Tensor:
    weight: torch.Tensor = model.state_dict()["model.layers.1.self_attn.q_proj.weight"]
    return weight


def llama3_factors(head_dim: int, theta: float, factor: float) -> np.ndarray[Any, Any]:
    """What Llama 3.1's rope scaling divides each frequency by, from its release's own description."""
    wavelengths = 2 * np.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    smooth = np.clip((8192 / wavelengths - 1) / (4 - 1), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def test_llama_3s_frequencies_are_recognised(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope |= {"rope_theta": 500_000.0, "original_max_position_embeddings": 8192}
    config = LlamaConfig(**SIZES, head_dim=32, rope_parameters=rope)
    model = random_model(config)
    factors = {"rope_freqs.weight": llama3_factors(32, 500_000.0, 8.0)}
    path = write_gguf(tmp_path / "m.gguf", model, tensors=factors)
    assert ModelConfig.from_folder(path).rope.kind == "llama3"
    got = logits(load_decoder(path, torch.float32), TOKENS)
    assert torch.allclose(got, reference_logits(model, TOKENS), atol=2e-4, rtol=1e-4)
    odd = {"rope_freqs.weight": np.linspace(1, 8, 16, dtype=np.float32)}
    with pytest.raises(ModelError, match="is not Llama 3's"):
        ModelConfig.from_folder(write_gguf(tmp_path / "odd.gguf", model, tensors=odd))


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_scaled_positions_are_read(tmp_path: Path, kind: str) -> None:
    rope = {"rope_type": kind, "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 64}
    model = random_model(LlamaConfig(**SIZES, rope_parameters=rope))
    scaling = {"type": kind, "factor": 4.0, "original_context_length": 64}
    metadata = {f"llama.rope.scaling.{key}": value for key, value in scaling.items()}
    path = write_gguf(tmp_path / "m.gguf", model, metadata=metadata)
    got = logits(load_decoder(path, torch.float32), TOKENS)
    assert torch.allclose(got, reference_logits(model, TOKENS), atol=2e-4, rtol=1e-4)


def test_the_config_says_what_the_metadata_say(tmp_path: Path) -> None:
    metadata = {"tokenizer.ggml.eot_token_id": 5, "qwen2.context_length": 200}
    config = ModelConfig.from_folder(write_gguf(tmp_path / "m.gguf", model_of("qwen2"), "F16", metadata))
    assert config.architecture == "Qwen2ForCausalLM"
    assert (config.bos_token_id, config.eos_token_ids) == (1, (2, 5))
    assert (config.max_position_embeddings, config.dtype, config.tie_embeddings) == (200, "float16", False)
