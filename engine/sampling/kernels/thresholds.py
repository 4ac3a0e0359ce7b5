"""The score that a row's tokens must reach to pass top-k, top-p and min-p, found without a sort; twin of filters.

Scores become 32-bit keys of the same order. A threshold is the greatest key from which on the row's tokens still sum
up to what is needed: k tokens for top-k, a share p of what top-k left for top-p. It is found digit by digit, four bits
in each launch over (rows, blocks of the vocabulary), so that a single row fills the GPU too; rows that do not ask for
the filter leave at once. Masses are fixed-point integers: their sums are the same in whatever order the blocks' atomics
arrive, so a row's threshold depends on neither its batch nor its launch.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.sampling.filters import Filters

#: tokens per program
BLOCK = 2048
#: a key has so many digits of four bits
DIGITS = tl.constexpr(8)
PARTS = tl.constexpr(16)
#: the mass of the best token; 2^19 tokens of it still fit an int64
ONE = tl.constexpr(2.0**43)


def thresholds(logits: Tensor, filters: Filters) -> Tensor:
    """float32 [rows]: the least logit / temperature that may win, -inf where every token may.

    logits [rows, vocab]; every filter [rows]. The best token always passes, and ties with the last that passes do.
    """
    rows, vocab = logits.shape
    grid = (rows, triton.cdiv(vocab, BLOCK))
    best = torch.zeros(rows, dtype=torch.int64, device=logits.device)
    counts, masses = torch.zeros(2, rows, DIGITS.value, PARTS.value, dtype=torch.int64, device=logits.device)
    found = torch.empty(rows, dtype=torch.float32, device=logits.device)
    read = (logits, filters.temperature, filters.top_k, filters.top_p)
    best_key_kernel[grid](*read, filters.min_p, best, logits.stride(0), vocab, BLOCK)
    for turn in range(DIGITS.value):
        count_kernel[grid](*read, counts, logits.stride(0), turn, vocab, BLOCK)
    for turn in range(DIGITS.value):
        mass_kernel[grid](*read, best, counts, masses, logits.stride(0), turn, vocab, BLOCK)
    threshold_kernel[(rows,)](*read[1:], filters.min_p, filters.min_p.log(), best, counts, masses, found, vocab)
    return found


@triton.jit
def key_of(score):
    """uint32 keys in the order of the scores, of which none is NaN; both zeros have the same."""
    bits = tl.where(score == 0.0, 0.0, score).to(tl.uint32, bitcast=True)
    return tl.where(bits >> 31 == 1, bits ^ 0xFFFFFFFF, bits | 0x80000000)


@triton.jit
def score_of(key):
    """The score that has this key."""
    return tl.where(key >> 31 == 1, key ^ 0x80000000, key ^ 0xFFFFFFFF).to(tl.float32, bitcast=True)


@triton.jit
def keys_of(logits, temperature, row, part, row_stride, vocab, block: tl.constexpr):
    """Keys of a block's scores, uint32 [block]; a NaN has that of -inf, and what lies beyond the vocabulary has 0."""
    token = part * block + tl.arange(0, block)
    inside = token < vocab
    scores = tl.load(logits + row.to(tl.int64) * row_stride + token, mask=inside, other=0.0).to(tl.float32)
    scores = tl.div_rn(scores, temperature)
    return tl.where(inside, key_of(tl.where(scores == scores, scores, -float("inf"))), 0)


@triton.jit
def mass_of(key, best):
    """exp(score - best) in units of 1 / ONE, int64."""
    score, most = score_of(key), score_of(best)
    # an infinity less itself is none
    return (tl.exp(tl.where(score < most, score - most, 0.0)) * ONE).to(tl.int64)


@triton.jit
def digits_of(sums, turns, need):
    """The first digits of the greatest key from which on the sums reach `need`, and the greatest sum that does not.

    Once all digits are known, the latter is the sum over all greater keys.
    """
    turn, part = tl.arange(0, DIGITS)[:, None], tl.arange(0, PARTS)[None, :]
    known = (turn < turns) & (part > 0)
    sum = tl.load(sums + turn * PARTS + part, mask=known, other=0)
    reached = known & (sum.to(tl.float64) >= need)
    digits = tl.sum(reached.to(tl.uint32), 1) << (28 - 4 * tl.arange(0, DIGITS)).to(tl.uint32)
    return tl.sum(digits, 0), tl.max(tl.max(tl.where(reached, 0, sum), 1), 0)


@triton.jit
def edge_of(temperature, k, counts, vocab):
    """The key of the k-th best token, and how many are better; 0 and 0 without top-k."""
    edge, better = digits_of(counts, DIGITS, k.to(tl.float64))
    cuts = has_top_k(temperature, k, vocab)
    return tl.where(cuts, edge, 0), tl.where(cuts, better, 0)


@triton.jit
def needed_mass(p, k, edge, better, best, masses):
    """The share p of what top-k left: of the tokens above its edge and of as many at the edge as make up k."""
    above = tl.load(masses)
    level = tl.where(edge > 0, (k - better) * mass_of(edge, best), 0)
    return p.to(tl.float64) * (above + level).to(tl.float64)


@triton.jit
def has_top_k(temperature, k, vocab):
    return (temperature > 0.0) & (k > 0) & (k < vocab)


@triton.jit
def has_top_p(temperature, p):
    return (temperature > 0.0) & (p < 1.0)


@triton.jit
def add_parts(sums, keys, values, low, turn):
    """Add up the values from each sixteenth of the sought interval on, which starts at `low`."""
    part = tl.arange(0, PARTS)
    made = tl.zeros([PARTS], tl.int64)
    # most blocks have no token that far up once the first digits are known
    if tl.max(keys, 0) >= low:
        width = tl.full([], 1, tl.uint32) << (28 - 4 * turn).to(tl.uint32)
        for index in tl.static_range(PARTS):
            some = tl.sum(tl.where(keys >= low + width * index, values, 0), 0)
            made = tl.where(part == index, some.to(tl.int64), made)
        tl.atomic_add(sums + turn * PARTS + part, made, sem="relaxed")


@triton.jit
def best_key_kernel(
    logits, temperatures, top_k, top_p, min_p, best, row_stride, vocab: tl.constexpr, block: tl.constexpr
):
    """Grid (rows, blocks of the vocabulary): the greatest key of each row that has a filter."""
    row, part = tl.program_id(0), tl.program_id(1)
    temperature = tl.load(temperatures + row)
    cuts = has_top_k(temperature, tl.load(top_k + row), vocab) | has_top_p(temperature, tl.load(top_p + row))
    if cuts | ((temperature > 0.0) & (tl.load(min_p + row) > 0.0)):
        keys = keys_of(logits, temperature, row, part, row_stride, vocab, block)
        tl.atomic_max(best + row, tl.max(keys, 0).to(tl.int64), sem="relaxed")


@triton.jit(do_not_specialize=["turn"])
def count_kernel(
    logits, temperatures, top_k, top_p, counts, row_stride, turn, vocab: tl.constexpr, block: tl.constexpr
):
    """Grid (rows, blocks of the vocabulary): how many tokens lie above each value of the threshold's next digit."""
    row, part = tl.program_id(0), tl.program_id(1)
    temperature, k = tl.load(temperatures + row), tl.load(top_k + row)
    if has_top_k(temperature, k, vocab):
        sums = counts + row * DIGITS * PARTS
        keys = keys_of(logits, temperature, row, part, row_stride, vocab, block)
        low, _ = digits_of(sums, turn, k.to(tl.float64))
        add_parts(sums, keys, (keys > 0).to(tl.int32), low, turn)


@triton.jit(do_not_specialize=["turn"])
def mass_kernel(
    logits, temperatures, top_k, top_p, best, counts, masses, row_stride, turn,
    vocab: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Grid (rows, blocks of the vocabulary): the same of probability, among the tokens better than the k-th."""
    row, part = tl.program_id(0), tl.program_id(1)
    temperature, p = tl.load(temperatures + row), tl.load(top_p + row)
    if has_top_p(temperature, p):
        sums = masses + row * DIGITS * PARTS
        keys = keys_of(logits, temperature, row, part, row_stride, vocab, block)
        k, most = tl.load(top_k + row), tl.load(best + row).to(tl.uint32)
        edge, better = edge_of(temperature, k, counts + row * DIGITS * PARTS, vocab)
        low, _ = digits_of(sums, turn, needed_mass(p, k, edge, better, most, sums))
        add_parts(sums, keys, tl.where(keys > edge, mass_of(keys, most), 0), low, turn)


@triton.jit
def threshold_kernel(
    temperatures, top_k, top_p, min_p, log_min_p, best, counts, masses, found, vocab: tl.constexpr
):  # fmt: skip
    """Grid (rows,): the highest of the three filters' thresholds, but never more than the best score."""
    row = tl.program_id(0)
    temperature, k, p = tl.load(temperatures + row), tl.load(top_k + row), tl.load(top_p + row)
    most = tl.load(best + row).to(tl.uint32)
    edge, better = edge_of(temperature, k, counts + row * DIGITS * PARTS, vocab)
    sums = masses + row * DIGITS * PARTS
    nucleus, _ = digits_of(sums, DIGITS, needed_mass(p, k, edge, better, most, sums))
    key = tl.maximum(edge, tl.where(has_top_p(temperature, p), nucleus, 0))
    floor = score_of(most) + tl.load(log_min_p + row)
    has_floor = (temperature > 0.0) & (tl.load(min_p + row) > 0.0)
    key = tl.minimum(tl.maximum(key, tl.where(has_floor & (floor == floor), key_of(floor), 0)), most)
    tl.store(found + row, tl.where(key > 0, score_of(key), -float("inf")))
