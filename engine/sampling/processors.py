"""What changes a row's logits before it is sampled: allowed tokens, penalties, bias, bans and grammars."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.grammar.matcher import Bits
from engine.params import SamplingParams
from engine.sampling.row import Row

IntArray = NDArray[np.int64]


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


def process(logits: Tensor, rows: list[Row]) -> None:
    """Apply the requests' penalties, bias and bans to their rows' logits [rows, vocab_size], in place.

    A row sees the drafts before it as already said, so a step of several tokens is penalised like several steps.
    """
    _penalise_repetition(logits, rows)
    _penalise_output(logits, rows)
    _add_bias(logits, rows)
    for index, row in enumerate(rows):
        params = row.sequence.params
        if params.allowed_token_ids is not None:
            _keep_only(logits[index], params.allowed_token_ids)
    _hold_back_ends(logits, rows)
    for index, row in enumerate(rows):
        if row.sequence.params.bad_words:
            _ban_bad_words(logits[index], row, row.sequence.params.bad_words)


def _penalise_repetition(logits: Tensor, rows: list[Row]) -> None:
    """Repetition penalty (CTRL, arXiv 1909.05858): what prompt and output hold becomes less likely."""
    factors = [(i, row.sequence.params.repetition_penalty) for i, row in enumerate(rows)]
    factors = [(i, factor) for i, factor in factors if factor != 1.0]
    if not factors:
        return
    said = [np.unique(rows[i].context) for i, _ in factors]
    cells = _cells([i for i, _ in factors], said, logits.device)
    penalty = _repeated([factor for _, factor in factors], said, logits)
    scores = logits[cells]
    logits[cells] = torch.where(scores > 0, scores / penalty, scores * penalty)


def _penalise_output(logits: Tensor, rows: list[Row]) -> None:
    """Presence and frequency penalties on what the output holds."""
    which = [
        i
        for i, row in enumerate(rows)
        if (row.sequence.params.presence_penalty or row.sequence.params.frequency_penalty)
        and len(row.context) > row.sequence.prompt_len
    ]
    if not which:
        return
    counted = [np.unique(rows[i].context[rows[i].sequence.prompt_len :], return_counts=True) for i in which]
    said = [tokens for tokens, _ in counted]
    cells = _cells(which, said, logits.device)
    counts = torch.from_numpy(np.concatenate([counts for _, counts in counted])).to(logits)
    presence = _repeated([rows[i].sequence.params.presence_penalty for i in which], said, logits)
    frequency = _repeated([rows[i].sequence.params.frequency_penalty for i in which], said, logits)
    logits[cells] -= presence + frequency * counts


def _add_bias(logits: Tensor, rows: list[Row]) -> None:
    which = [i for i, row in enumerate(rows) if row.sequence.params.logit_bias]
    if not which:
        return
    biases = [rows[i].sequence.params.logit_bias for i in which]
    cells = _cells(which, [np.array(list(bias)) for bias in biases], logits.device)
    values = [value for bias in biases for value in bias.values()]
    logits[cells] += torch.tensor(values, dtype=logits.dtype, device=logits.device)


def _keep_only(logits: Tensor, allowed_token_ids: list[int]) -> None:
    allowed = torch.tensor(allowed_token_ids, device=logits.device)
    kept = logits[allowed]
    logits.fill_(float("-inf"))
    logits[allowed] = kept


def _hold_back_ends(logits: Tensor, rows: list[Row]) -> None:
    """No stop token before min_tokens."""
    which = [
        i
        for i, row in enumerate(rows)
        if row.position - row.sequence.prompt_len < row.sequence.params.min_tokens and row.sequence.stop_token_ids
    ]
    if which:
        stops = [np.array(list(rows[i].sequence.stop_token_ids)) for i in which]
        logits[_cells(which, stops, logits.device)] = float("-inf")


def _cells(rows: list[int], tokens: list[IntArray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Index of logits for these tokens of these rows, in order: int64 [sum of lengths] each."""
    row_of = np.repeat(rows, [len(each) for each in tokens])
    return torch.from_numpy(row_of).to(device), torch.from_numpy(np.concatenate(tokens)).to(device)


def _repeated(values: list[float], tokens: list[IntArray], like: Tensor) -> Tensor:
    """Each value as often as its row has tokens."""
    return torch.from_numpy(np.repeat(values, [len(each) for each in tokens])).to(like)


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
