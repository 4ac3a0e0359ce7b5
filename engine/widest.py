"""The widest step that an engine may be asked for, run once before there is a cache, to see what memory it takes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.attention.base import AttentionBackend
from engine.batch import lay_out
from engine.cache.pages import NULL_PAGE
from engine.config import EngineConfig
from engine.memory import scored_rows
from engine.messages import Submit
from engine.params import SamplingParams
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from engine.window import Window, WindowShape
from models.decoder import Decoder

#: settings that copy logits and filter them
COSTLY = SamplingParams(temperature=1.0, top_k=50, top_p=0.9, min_p=0.01, logit_bias={0: 1.0})


@torch.inference_mode()
def run_widest(model: Decoder, attention: AttentionBackend, config: EngineConfig, triton: bool) -> int:
    """A forward of all rows that may be batched, and sampling of all that may be scored; returns the rows.

    The prompts have as many tokens as a context holds, and all their K/V go to the null page.
    """
    windows = _windows(config)
    ids = [window.tokens for window in windows]
    batch = lay_out(windows, ids, attention.storage, model.config.max_position_embeddings)
    hidden = model(batch.token_ids, batch.positions, attention.prepare(batch))
    logits = model.logits(hidden[: scored_rows(config)])
    logits = logits if logits.dtype == torch.float64 else logits.float()
    sampler = Sampler(logits.shape[-1], logits.device, triton)
    sampler.sample(logits, [Row(windows[0].sequence, 1 + index, []) for index in range(len(logits))])
    return len(hidden)


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """What the CUDA allocator handed out at most during `run`, beyond what it had handed out before."""
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _windows(config: EngineConfig) -> list[Window]:
    """Prompt chunks that fill the row budget."""
    rows, longest = config.max_num_batched_tokens, config.max_model_len or config.max_num_batched_tokens
    return [_window(min(longest, rows - start), config.page_size) for start in range(0, rows, longest)]


def _window(rows: int, page_size: int) -> Window:
    submit = Submit(request_id="widest", prompt_token_ids=[0] * rows, params=COSTLY)
    sequence = Sequence(submit, seed=0, max_len=rows + 1, stop_token_ids=frozenset())
    sequence.pages = [NULL_PAGE] * -(-rows // page_size)
    return Window(sequence, sequence.tokens, WindowShape(rows), range(0), decodes=False)
