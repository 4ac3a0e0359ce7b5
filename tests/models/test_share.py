"""Slices of a decoder: whatever the ranks are, what they compute together is what the whole computes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.checkpoint import load_decoder, save_decoder
from models.config import ModelConfig
from models.decoder import Attention, Decoder
from models.errors import ModelError
from models.inference import Kernels, prepare_for_inference
from models.joining import join_layers
from models.layout import places
from models.share import Share
from tests.engine.tiny import random_decoder, tiny_config

TOKENS = torch.tensor([5, 9, 11, 2, 40])


class Threads:
    """Adds up what one thread for each rank brings; whoever has the `turn` computes, as kernels cannot at once."""

    def __init__(self, size: int) -> None:
        self.turn = threading.Lock()
        self._barrier = threading.Barrier(size)
        self._brought: list[Tensor] = []

    def add(self, x: Tensor) -> Tensor:
        self._brought.append(x)
        self._wait()
        total = torch.stack(self._brought).sum(0)
        self._wait()
        x.copy_(total)
        self._brought.clear()
        self._wait()
        return x

    def _wait(self) -> None:
        self.turn.release()
        self._barrier.wait(60)
        self.turn.acquire()


def causal(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (each.transpose(0, 1)[None] for each in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out[0].transpose(0, 1)


def all_ranks(size: int, run: Callable[[int], Tensor]) -> list[Tensor]:
    results: dict[int, Tensor] = {}

    def work(rank: int) -> None:
        results[rank] = run(rank)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == size
    return [results[rank] for rank in range(size)]


def hidden(decoder: Decoder, attention: Attention = causal) -> Tensor:
    with torch.inference_mode():
        result: Tensor = decoder(TOKENS, torch.arange(len(TOKENS)), attention)
        return result


def saved(folder: Path, config: ModelConfig) -> Path:
    """Random weights, biases included."""
    decoder = random_decoder(config)
    generator = torch.Generator().manual_seed(1)
    for parameter in decoder.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    save_decoder(decoder, folder, torch.float64)
    return folder


CONFIGS = {
    "grouped queries, norms of q and k, tied": tiny_config(),
    "a bias everywhere": replace(tiny_config("LlamaForCausalLM"), qkv_bias=True, output_bias=True, mlp_bias=True),
    "one KV head": replace(tiny_config("LlamaForCausalLM"), num_kv_heads=1),
}


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_ranks_together_compute_the_whole(tmp_path: Path, name: str, size: int) -> None:
    """With four ranks every KV head of two, and the only one, is on several of them."""
    folder = saved(tmp_path, CONFIGS[name])
    whole = load_decoder(folder, torch.float64)
    communicator = Threads(size)

    def run(rank: int) -> Tensor:
        share = Share(rank, size)
        decoder = load_decoder(folder, torch.float64, share=share)
        join_layers(decoder, share, communicator)
        with communicator.turn:
            return hidden(decoder)

    for result in all_ranks(size, run):
        torch.testing.assert_close(result, hidden(whole), rtol=1e-10, atol=1e-12)
    first = load_decoder(folder, torch.float64, share=Share(0, size))
    torch.testing.assert_close(first.logits(hidden(whole)), whole.logits(hidden(whole)))


@pytest.mark.parametrize("kernels", Kernels)
def test_packed_and_fused_layers_add_up_too(tmp_path: Path, kernels: Kernels) -> None:
    """Triton's run in its interpreter (see tests/__init__.py)."""
    folder = saved(tmp_path, CONFIGS["a bias everywhere"])
    whole = hidden(load_decoder(folder, torch.float32))
    communicator = Threads(2)

    def run(rank: int) -> Tensor:
        share = Share(rank, 2)
        decoder = load_decoder(folder, torch.float32, share=share)
        prepare_for_inference(decoder, kernels)
        join_layers(decoder, share, communicator)
        with communicator.turn:
            return hidden(decoder)

    for result in all_ranks(2, run):
        torch.testing.assert_close(result, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_every_number_of_the_checkpoint_is_on_some_rank(size: int) -> None:
    config = tiny_config("LlamaForCausalLM")
    shares = [Share(rank, size) for rank in range(size)]
    parts = [share.parts(config) for share in shares]
    for place in places(config):
        seen = torch.zeros(place.shape, dtype=torch.int64)
        for share, mine in zip(shares, parts, strict=True):
            if place.name in mine:
                seen[share.cut(place.shape, mine[place.name].shape)] += 1
        assert seen.min() == seen.max() >= 1, place.name


@pytest.mark.parametrize("size", [3, 8])
def test_what_cannot_be_divided_is_refused(size: int) -> None:
    with pytest.raises(ModelError, match=f"cannot be divided among {size} processes"):
        Share(0, size).config(tiny_config())
