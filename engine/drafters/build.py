"""From settings to a drafter that shares the engine's pages."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.attention.base import AttentionBackend
from engine.attention.choice import make_attention
from engine.cache.storage import KVStorage
from engine.config import EngineConfig
from engine.drafters.draft_model import DraftModel
from engine.drafters.eagle import EagleDrafter
from engine.drafters.eagle_tree import EagleTreeDrafter
from engine.drafters.ngram import NgramDrafter
from engine.errors import EngineError
from engine.runner import Runner
from engine.sampling.sampler import Sampler
from engine.strategies.draft_verify import DraftVerify
from engine.strategies.drafter import Beside
from engine.threads import Threads
from models.checkpoint import load_decoder
from models.config import ModelConfig
from models.eagle import EagleConfig
from models.eagle_checkpoint import load_eagle
from models.folder import read_object
from models.inference import Kernels, prepare_for_inference


def make_ngram(config: EngineConfig, beside: Beside) -> NgramDrafter:
    return NgramDrafter(config.prompt_lookup_min, config.prompt_lookup_max)


def make_draft_model(config: EngineConfig, beside: Beside) -> DraftModel:
    folder = _folder(config)
    _check_vocabulary(Path(config.model), folder, beside.model.config, ModelConfig.from_folder(folder))
    model = load_decoder(folder, beside.dtype, beside.device)
    prepare_for_inference(model, beside.kernels)
    attention = _attention(config, beside, model.config)
    runner = Runner(model, attention, DraftVerify(None), Threads(beside.threads))
    vocab_size, rows = beside.model.config.vocab_size, config.max_num_batched_tokens
    return DraftModel(runner, _sampler(beside), beside.scheduler.reserve, vocab_size, rows)


def make_eagle(config: EngineConfig, beside: Beside) -> EagleDrafter:
    if config.draft_width > 1 and beside.kernels is Kernels.TRITON:
        raise EngineError(
            "--draft-width above 1 makes trees, which Triton attention cannot see; use --attention-backend torch."
        )
    head = load_eagle(_folder(config), beside.model)
    opened = config.max_num_seqs * config.draft_width * (config.draft_length or 1)
    attention, sampler = _attention(config, beside, head.config.layer, opened), _sampler(beside)
    if config.draft_width == 1:
        return EagleDrafter(head, attention, sampler, beside.scheduler.reserve)
    nodes = config.draft_nodes or config.draft_width * (config.draft_length or 1)
    return EagleTreeDrafter(head, attention, sampler, beside.scheduler.reserve, config.draft_width, nodes)


def draft_model_page_bytes(config: EngineConfig, target: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes that the draft model's K/V add to a page."""
    return KVStorage.bytes_per_page(ModelConfig.from_folder(_folder(config)), config.page_size, dtype)


def eagle_page_bytes(config: EngineConfig, target: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes that the head's K/V add to a page."""
    return KVStorage.bytes_per_page(EagleConfig.from_folder(_folder(config), target).layer, config.page_size, dtype)


def _sampler(beside: Beside) -> Sampler:
    return Sampler(beside.model.config.vocab_size, beside.device, beside.kernels is Kernels.TRITON)


def _attention(config: EngineConfig, beside: Beside, cached: ModelConfig, scratch_rows: int = 0) -> AttentionBackend:
    """Attention over a storage of the drafter's own, under the page numbers of the engine's."""
    pool = beside.scheduler.pool
    rows = max(config.max_num_batched_tokens, scratch_rows)
    storage = KVStorage(cached, pool.num_pages, pool.page_size, rows, beside.dtype, beside.device)
    return make_attention(beside.kernels, storage)


def _folder(config: EngineConfig) -> Path:
    if config.draft_model is None:
        raise EngineError(f"--decoding {config.decoding} needs --draft-model, the folder of what drafts.")
    return Path(config.draft_model)


def _check_vocabulary(target_folder: Path, draft_folder: Path, target: ModelConfig, draft: ModelConfig) -> None:
    """Both models must mean the same tokens by their ids; one of them may be padded to a larger size."""
    theirs, ours = (_vocabulary(folder) for folder in (draft_folder, target_folder))
    same = theirs == ours if theirs and ours else target.vocab_size == draft.vocab_size
    if not same:
        raise EngineError(
            f"The draft model {draft_folder.name} has another vocabulary than {target_folder.name}; "
            f"choose one of the same family."
        )


def _vocabulary(folder: Path) -> object:
    """The tokens of tokenizer.json by id, or None where there is no such file."""
    tokenizer = read_object(folder / "tokenizer.json") if folder.is_dir() else None
    model = (tokenizer or {}).get("model")
    return model.get("vocab") if isinstance(model, dict) else None
