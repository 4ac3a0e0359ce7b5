"""What changes a row's logits before it is sampled: allowed tokens, penalties, bias, bans and grammars."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.grammar.matcher import Bits
from engine.params import SamplingParams
from engine.sampling.row import Row


def needs_processing(params: SamplingParams) -> bool:
    """Whether any of a request's rows may be changed by `process`."""
    return bool(
        params.repetition_penalty != 1.0
        or params.presence_penalty
        or params.frequency_penalty
        or params.logit_bias
        or params.allowed_token_ids is not None
        or params.min_tokens
        or params.bad_words
    )


def process(logits: Tensor, row: Row) -> None:
    """Apply the request's penalties, bias and bans to one row's logits [vocab_size], in place.

    The row sees the drafts before it as already said, so a step of several tokens is penalised like several steps.
    """
    params = row.sequence.params
    _penalise(logits, row, params)
    if params.logit_bias:
        tokens = torch.tensor(list(params.logit_bias), device=logits.device)
        logits[tokens] += torch.tensor(list(params.logit_bias.values()), dtype=logits.dtype, device=logits.device)
    if params.allowed_token_ids is not None:
        allowed = torch.tensor(params.allowed_token_ids, device=logits.device)
        kept = logits[allowed]
        logits.fill_(float("-inf"))
        logits[allowed] = kept
    if row.position - row.sequence.prompt_len < params.min_tokens and row.sequence.stop_token_ids:
        logits[torch.tensor(list(row.sequence.stop_token_ids), device=logits.device)] = float("-inf")
    if params.bad_words:
        _ban_bad_words(logits, row, params.bad_words)


def _ban_bad_words(logits: Tensor, row: Row, bad_words: list[list[int]]) -> None:
    """Keep out every token that would complete a bad word in the output, unless nothing else may be said."""
    output = row.context[row.sequence.prompt_len :]
    ends = [word[-1] for word in bad_words if len(word) == 1 or output[1 - len(word) :] == word[:-1]]
    if not ends:
        return
    banned = torch.tensor(ends, device=logits.device)
    kept = logits[banned]
    logits[banned] = float("-inf")
    left = torch.isfinite(logits)
    if row.allowed is not None:
        left &= ~_forbidden([row.allowed], len(logits), logits.device)[0]
    if not left.any():
        logits[banned] = kept


def apply_grammars(logits: Tensor, rows: list[Row]) -> Tensor:
    """Logits [rows, vocab_size] with -inf for every token that a row's grammar forbids; rows without one unchanged."""
    bound = [(i, row.allowed) for i, row in enumerate(rows) if row.allowed is not None]
    if not bound:
        return logits
    forbidden = _forbidden([bits for _, bits in bound], logits.shape[-1], logits.device)
    if len(bound) == len(rows):
        return logits.masked_fill(forbidden, float("-inf"))
    index = torch.tensor([i for i, _ in bound], device=logits.device)
    return logits.index_copy(0, index, logits[index].masked_fill(forbidden, float("-inf")))


def _forbidden(bits: list[Bits], vocab_size: int, device: torch.device) -> Tensor:
    """bool [rows, vocab_size]: the tokens whose bit is clear."""
    unpack = forbidden_here if device.type == "cpu" else forbidden_there
    return unpack(np.stack(bits).view(np.uint8), vocab_size, device)


def forbidden_here(packed: NDArray[np.uint8], vocab: int, device: torch.device) -> Tensor:
    """bool [rows, vocab], True where a bit of packed [rows, bytes] is clear; unpacked by the CPU."""
    allowed = np.unpackbits(packed, axis=1, count=vocab, bitorder="little").view(np.bool_)
    return torch.from_numpy(~allowed).to(device)


def forbidden_there(packed: NDArray[np.uint8], vocab: int, device: torch.device) -> Tensor:
    """The same, unpacked by the device, so that an eighth of the bytes travel."""
    each_bit = torch.tensor([1 << bit for bit in range(8)], dtype=torch.uint8, device=device)
    there = torch.from_numpy(packed).to(device)
    return ((there[:, :, None] & each_bit) == 0).flatten(1)[:, :vocab]


def _penalise(logits: Tensor, row: Row, params: SamplingParams) -> None:
    """Repetition penalty (CTRL, arXiv 1909.05858) over prompt and output; presence and frequency over the output."""
    if params.repetition_penalty != 1.0:
        said = torch.tensor(row.context, device=logits.device).unique()
        scores = logits[said]
        logits[said] = torch.where(scores > 0, scores / params.repetition_penalty, scores * params.repetition_penalty)
    output = row.context[row.sequence.prompt_len :]
    if output and (params.presence_penalty or params.frequency_penalty):
        tokens, counts = torch.tensor(output, device=logits.device).unique(return_counts=True)
        logits[tokens] -= params.presence_penalty + params.frequency_penalty * counts.to(logits.dtype)
