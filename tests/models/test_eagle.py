"""EAGLE-3 heads: what a plain reading of the published format computes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.checkpoint import load_decoder
from models.decoder import Decoder
from models.eagle_checkpoint import load_eagle
from models.errors import ModelError
from tests.models.eagle_heads import PlainHead, save_eagle

FEATURES = {"eagle_aux_hidden_state_layer_ids": [1, 1, 2]}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    from tests.engine.tiny import save_random

    return load_decoder(save_random(tmp_path_factory.mktemp("target"), "LlamaForCausalLM"), torch.float64)


def causal(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of one sequence without a cache; rows are positions."""
    q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out.transpose(0, 1)


@pytest.mark.parametrize(
    ("prefix", "config"),
    [("midlayer.", {}), ("layers.0.", {"norm_before_residual": True}), ("midlayer.", {"own_embedding": True})],
)
def test_a_head_computes_what_its_description_says(
    target: Decoder, tmp_path: Path, prefix: str, config: dict[str, Any]
) -> None:
    folder = save_eagle(tmp_path, target.config, 40, prefix, **FEATURES, **config)
    head = load_eagle(folder, target)
    tokens = [5, 9, 33, 60, 2, 17]
    hidden = torch.randn(5, 3, target.config.hidden_size, dtype=torch.float64)
    features = head.fused(hidden)
    outputs = head(torch.tensor(tokens[1:]), features, torch.arange(5), causal)
    plain = PlainHead(
        load_file(folder / "model.safetensors"), target.embed.weight, config.get("norm_before_residual", False)
    )
    torch.testing.assert_close(features, plain.fused(list(hidden.unbind(1))))
    torch.testing.assert_close(outputs, plain.outputs(tokens[1:], features))
    assert int(head.targets[head.logits(outputs)[-1].argmax()]) == plain.drafts(tokens, list(hidden.unbind(1)), 1)[0]


def test_without_an_embedding_of_its_own_it_reads_the_targets(target: Decoder, tmp_path: Path) -> None:
    assert load_eagle(save_eagle(tmp_path, target.config, 40, **FEATURES), target).embed is target.embed


def test_layers_to_fuse_follow_from_the_targets_depth_where_none_are_named(target: Decoder, tmp_path: Path) -> None:
    from dataclasses import replace

    from models.eagle import EagleConfig

    folder = save_eagle(tmp_path, target.config, 40)
    assert EagleConfig.from_folder(folder, replace(target.config, num_layers=32)).features == (2, 16, 29)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architectures": ["BertModel"]}, "no EAGLE-3 head"),
        ({"num_hidden_layers": 2}, "one layer"),
        ({"vocab_size": 65}, "another model"),
        ({"target_hidden_size": 31}, "another model"),
        ({"hidden_size": 16}, "another model"),
        ({"eagle_aux_hidden_state_layer_ids": [0, 1, 2]}, "three of the model's layers"),
        ({"eagle_aux_hidden_state_layer_ids": "low"}, "three of the model's layers"),
        ({"draft_vocab_size": 41}, "has shape"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(
    target: Decoder, tmp_path: Path, config: dict[str, Any], says: str
) -> None:
    folder = save_eagle(tmp_path, target.config, 40, **FEATURES)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, **config}))
    with pytest.raises(ModelError, match=says):
        load_eagle(folder, target)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"d2t": torch.full((40,), 64)}, "outside the vocabulary"),
        ({"d2t": torch.zeros(39, dtype=torch.long)}, "one whole number"),
        ({"d2t": torch.zeros(40)}, "one whole number"),
        ({"d2t": None}, "no d2t"),
        ({"fc.weight": None}, "no tensor fc.weight"),
        ({"norm.weight": torch.ones(33)}, "has shape"),
        ({"more.weight": torch.ones(3)}, "does not have"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    target: Decoder, tmp_path: Path, change: dict[str, Tensor | None], says: str
) -> None:
    folder = save_eagle(tmp_path, target.config, 40, **FEATURES)
    tensors = {**load_file(folder / "model.safetensors"), **change}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=says):
        load_eagle(folder, target)
