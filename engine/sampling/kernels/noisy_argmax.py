"""The argmax of logits / temperature + Gumbel noise without ever writing the noise; twin of GumbelNoise and argmax."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

#: tokens per program of the first pass
BLOCK = 2048


def noisy_argmax(
    logits: Tensor, temperatures: Tensor, seeds: Tensor, positions: Tensor, thresholds: Tensor | None = None
) -> Tensor:
    """One token per row, int64 [rows]; of equal scores the lowest token.

    logits [rows, vocab]; temperatures float32 [rows], 0 for a plain argmax; seeds, positions int64 [rows]. thresholds
    float32 [rows]: the least logit / temperature that may win; without them every token may.
    """
    rows, vocab = logits.shape
    blocks = triton.cdiv(vocab, BLOCK)
    best = torch.empty(rows, blocks, dtype=torch.float32, device=logits.device)
    where = torch.empty(rows, blocks, dtype=torch.int32, device=logits.device)
    tokens = torch.empty(rows, dtype=torch.int64, device=logits.device)
    block_best_kernel[(rows, blocks)](
        logits, temperatures, seeds, positions, thresholds, best, where, logits.stride(0), vocab, blocks, BLOCK
    )
    row_best_kernel[(rows,)](best, where, tokens, blocks, triton.next_power_of_2(blocks))
    return tokens


@triton.jit
def mix(x):
    """engine.sampling.noise._mix on uint32."""
    x = x ^ (x >> 16)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15)
    x = x * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def noise_words(seed, position, token):
    """31 random bits for each token, as GumbelNoise makes them; seed and position int64."""
    place = mix(position.to(tl.uint32))
    low = mix(mix(seed.to(tl.uint32)) + place)
    high = mix(mix((seed >> 32).to(tl.uint32)) ^ (place + low))
    bits = mix(token.to(tl.uint32)) ^ low
    return mix((bits ^ (bits >> 16)) + high) & 0x7FFFFFFF


@triton.jit
def gumbel(words):
    """-log(-log(1 - u)) of u = (words + 0.5) / 2^31, precise at the small u that win the argmax."""
    uniform = tl.minimum((words.to(tl.float32) + 0.5) * 4.656612873077393e-10, 0.9999999403953552)
    # log1p by a logarithm near 1 and the argument's own rounding
    rest = 1.0 - uniform
    exact = rest == 1.0
    log = tl.where(exact, -uniform, tl.log(rest) * (-uniform / tl.where(exact, 1.0, rest - 1.0)))
    return -tl.log(-log)


@triton.jit(do_not_specialize=["blocks"])
def block_best_kernel(
    logits, temperatures, seeds, positions, thresholds, best, where, row_stride,
    vocab: tl.constexpr, blocks, block: tl.constexpr,
):  # fmt: skip
    """Grid (rows, blocks of the vocabulary): each block's best score and token."""
    row, part = tl.program_id(0), tl.program_id(1)
    token = part * block + tl.arange(0, block)
    inside = token < vocab
    scores = tl.load(logits + row.to(tl.int64) * row_stride + token, mask=inside, other=-float("inf")).to(tl.float32)
    temperature = tl.load(temperatures + row)
    if temperature > 0.0:
        words = noise_words(tl.load(seeds + row), tl.load(positions + row), token)
        scores = tl.div_rn(scores, temperature)
        noisy = scores + gumbel(words)
        if thresholds is not None:
            noisy = tl.where(scores >= tl.load(thresholds + row), noisy, -float("inf"))
        scores = noisy
    # a broken row must still name a token that exists
    scores = tl.where(scores == scores, scores, -float("inf"))
    score, index = tl.max(scores, 0, return_indices=True, return_indices_tie_break_left=True)
    tl.store(best + row * blocks + part, score)
    tl.store(where + row * blocks + part, part * block + index)


@triton.jit(do_not_specialize=["blocks"])
def row_best_kernel(best, where, tokens, blocks, block: tl.constexpr):
    """Grid (rows,): the best of a row's blocks."""
    row = tl.program_id(0)
    lane = tl.arange(0, block)
    scores = tl.load(best + row * blocks + lane, mask=lane < blocks, other=-float("inf"))
    index = tl.argmax(scores, 0, tie_break_left=True)
    tl.store(tokens + row, tl.load(where + row * blocks + index).to(tl.int64))
