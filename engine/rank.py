"""What one process of an engine holds: its part of the model, its KV cache and its attention. Mostly there is one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.attention.base import AttentionBackend
from engine.attention.choice import choose_kernels, make_attention
from engine.cache.storage import KVStorage
from engine.config import EngineConfig
from engine.dtypes import DTYPES, cache_dtype
from engine.errors import EngineError
from engine.memory import explained, forward_bytes, kv_cache_budget, limiting_flag, measures_forward
from engine.parallel.group import Group
from engine.strategies.registry import SCHEMES
from engine.widest import peak_bytes, run_widest
from models.adapter.config import AdapterConfig
from models.adapter.gated import read_products
from models.adapter.storage import read_tensors
from models.checkpoint import load_decoder
from models.config import ModelConfig
from models.decoder import Decoder
from models.inference import Kernels, prepare_for_inference
from models.joining import join_layers
from models.quantization import quantize_weights, weight_bytes
from models.share import Share


@dataclass(frozen=True)
class Rank:
    """Ready to run its part of a forward, for which `forward_bytes` beside weights and pages are kept free; `group` is
    None for a model that is not split."""

    model: Decoder
    storage: KVStorage
    attention: AttentionBackend
    num_pages: int
    device: torch.device
    group: Group | None
    forward_bytes: int

    def close(self) -> None:
        """Leave the other ranks."""
        if self.group is not None:
            self.group.close()


@dataclass(frozen=True)
class LoadedRank:
    """Its weights are loaded, `weight_bytes` of them; `model_config` is this rank's part of the model."""

    config: EngineConfig
    share: Share
    model_config: ModelConfig
    model: Decoder
    device: torch.device
    dtype: torch.dtype
    cache_dtype: torch.dtype
    threads: int
    kernels: Kernels
    weight_bytes: int

    def join(self, folder: Path | None, fewest: int = 1) -> Rank:
        """Meet the other ranks in `folder`, where there are any, and set up a KV cache of equally many pages.

        Raises EngineError where there is no room for the `fewest` of use.
        """
        group = Group(self.share, folder, self.device) if folder is not None else None
        try:
            return self._furnish(group, fewest)
        except BaseException:
            if group is not None:
                group.close()
            raise

    def _furnish(self, group: Group | None, fewest: int) -> Rank:
        if group is not None:
            join_layers(self.model, self.share, group)
        with explained("setting up the KV cache", f"lower {limiting_flag(self.config, self.device)}"):
            forward = self._forward_bytes()
            pages = self._pages(forward)
            if group is not None:
                pages = group.least(pages)
            storage = self._storage(pages, fewest)
        return Rank(self.model, storage, make_attention(self.kernels, storage), pages, self.device, group, forward)

    def _forward_bytes(self) -> int:
        """What a forward needs beside weights and pages: measured where it matters, or an estimate."""
        if not measures_forward(self.config, self.device):
            return forward_bytes(self.config, self.model_config, self.dtype)
        storage = self._storage(1, 1)
        attention, triton = make_attention(self.kernels, storage), self.kernels is Kernels.TRITON
        with explained("running the widest step", "lower --max-num-batched-tokens or choose a smaller model"):
            peak = peak_bytes(lambda: run_widest(self.model, attention, self.config, triton), self.device)
        # nearly all of this storage are the scratch slots that lie behind any number of pages
        return peak + storage.num_bytes

    def _pages(self, forward: int) -> int:
        """As many as the memory limit allows and max_num_seqs full contexts could use."""
        config, model = self.config, self.model_config
        if config.num_pages is not None:
            return config.num_pages
        budget = kv_cache_budget(config, model, self.cache_dtype, self.device, forward)
        if self.device.type == "cuda" and config.draft_model is not None:
            # what drafts is loaded after the cache is there
            budget -= _stored_bytes(Path(config.draft_model))
        page_bytes = KVStorage.bytes_per_page(model, config.page_size, self.cache_dtype)
        # what drafts is on rank 0, but all ranks have the same number of pages
        of_drafter = SCHEMES[config.decoding].page_bytes
        page_bytes += 0 if of_drafter is None else of_drafter(config, model, self.dtype)
        return min(config.max_num_seqs * _longest(config), budget // page_bytes)

    def _storage(self, pages: int, fewest: int) -> KVStorage:
        config = self.config
        if pages < fewest:
            raise EngineError(
                f"The KV cache of {pages} pages of {config.page_size} tokens cannot hold one context of "
                f"{config.max_model_len} tokens; lower --max-model-len or raise {limiting_flag(config, self.device)}."
            )
        rows = config.max_num_batched_tokens
        return KVStorage(self.model_config, pages, config.page_size, rows, self.dtype, self.device, self.cache_dtype)


def load_rank(config: EngineConfig, share: Share) -> LoadedRank:
    """Load this rank's part of the model; `config` has its context and drafting resolved.

    Raises EngineError or ModelError, one sentence each.
    """
    folder = Path(config.model)
    whole = ModelConfig.from_folder(folder)
    device, dtype = _device(config, share), serving_dtype(config, whole)
    threads = 1
    if device.type == "cpu":
        threads = max(1, (config.threads or len(os.sched_getaffinity(0))) // share.size)
        torch.set_num_threads(threads)
    with explained("loading the weights", "choose a smaller --dtype or a smaller model"):
        lora = Path(config.lora) if config.lora else None
        model = load_decoder(folder, dtype, device, lora, share)
    # told from other models by its embedding, so before anything is quantised
    adapter = read_tensors(AdapterConfig.read(Path(config.adapter)), model) if config.adapter else {}
    products = read_products(Path(config.draft_lora), model) if config.draft_lora else None
    quantize_weights(model, config.quantization)
    size = weight_bytes(model) + sum(tensor.numel() for tensor in adapter.values()) * dtype.itemsize
    kernels = choose_kernels(config.attention_backend, device, dtype)
    kept = cache_dtype(config, dtype, kernels)
    prepare_for_inference(model, kernels, adapter, products)
    return LoadedRank(config, share, share.config(whole), model, device, dtype, kept, threads, kernels, size)


def _device(config: EngineConfig, share: Share) -> torch.device:
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineError(f"--device {name!r} is not a device torch knows; use cpu or cuda.") from None
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise EngineError("--device cuda was asked for, but torch finds no CUDA device; use --device cpu.")
    if share.size == 1:
        return device
    if torch.cuda.device_count() < share.size:
        raise EngineError(
            f"--tensor-parallel-size {share.size} needs as many GPUs, but torch finds {torch.cuda.device_count()}."
        )
    return torch.device("cuda", share.rank)


def serving_dtype(config: EngineConfig, model: ModelConfig) -> torch.dtype:
    """ "auto" is the checkpoint's own on a GPU and float32 on a CPU, where half precision is slow or inexact."""
    name = config.dtype
    if name == "auto":
        name = "float32" if _device(config, Share(0, 1)).type == "cpu" else model.dtype
    if name not in DTYPES:
        raise EngineError(f"--dtype {name!r} is not known; use one of auto, {', '.join(DTYPES)}.")
    return DTYPES[name]


def _longest(config: EngineConfig) -> int:
    """Pages of one whole context."""
    assert config.max_model_len is not None
    return -(-config.max_model_len // config.page_size)


def _stored_bytes(path: Path) -> int:
    """What a folder's safetensors files, or one GGUF file, take on disk."""
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
