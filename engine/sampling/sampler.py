"""From logits to tokens: argmax of filtered log-probabilities plus noise that only seed and position decide."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.sampling.filters import Filters, filtered_log_probs, has_filter
from engine.sampling.noise import GumbelNoise
from engine.sampling.processors import apply_grammars, needs_processing, process
from engine.sampling.row import Row

#: in place of a token, where the request's grammar and bans together leave none
NOTHING = -1


class Sampler:
    """x_p = argmax over v of log p(v) + Gumbel(seed, p, v); at temperature 0 the argmax of the processed logits.

    AR rows and draft rows go through the same function with the same noise, so a draft that comes from the same
    distribution as the AR row is the same token.
    """

    def __init__(self, vocab_size: int, device: torch.device, triton: bool = False) -> None:
        """`triton`: filter without a sort, and choose the tokens in a kernel that never writes their noise."""
        self.noise = GumbelNoise(vocab_size, device)
        self.triton = triton

    @torch.inference_mode()
    def sample(self, logits: Tensor, rows: list[Row]) -> list[int]:
        """One token per row of logits [rows, vocab_size], which are left unchanged, or NOTHING."""
        best = self._fused(logits, rows) if self.triton else self._best(logits, rows)
        tokens: list[int] = best.tolist()
        return tokens

    def _best(self, logits: Tensor, rows: list[Row]) -> Tensor:
        """int64 [rows]: the argmax, or NOTHING where a grammar forbids all that is left."""
        scores = self.scores(logits, rows)
        if all(row.allowed is None for row in rows):
            return _argmax(scores)
        highest, best = scores.max(-1)
        # a row of which nothing is left has become NaN on its way through the softmax
        return best.masked_fill_(~(highest > float("-inf")), NOTHING)

    def _fused(self, logits: Tensor, rows: list[Row]) -> Tensor:
        """`_best` in Triton; rows with a grammar go the plain way, and which way a row goes is its own."""
        from engine.sampling.kernels.noisy_argmax import noisy_argmax
        from engine.sampling.kernels.thresholds import thresholds

        device, params = logits.device, [row.sequence.params for row in rows]
        plain = [i for i, row in enumerate(rows) if row.allowed is not None]
        seeds = torch.tensor([row.sequence.seed for row in rows], device=device)
        positions = torch.tensor([row.position for row in rows], device=device)
        processed, filters = self._process(logits, rows), Filters.of(params, device)
        least = thresholds(processed, filters) if any(map(has_filter, params)) else None
        tokens: Tensor = noisy_argmax(processed, filters.temperature, seeds, positions, least)
        if plain:
            index = torch.tensor(plain, device=device)
            tokens[index] = self._best(logits[index], [rows[i] for i in plain])
        return tokens

    @torch.inference_mode()
    def scores(self, logits: Tensor, rows: list[Row]) -> Tensor:
        """What the argmax is taken of, [rows, vocab_size]."""
        logits = self._process(logits, rows)
        noisy = [i for i, row in enumerate(rows) if row.sequence.params.temperature > 0]
        if not noisy:
            return logits
        if len(noisy) == len(rows):
            return self._noisy(logits, rows)
        index = torch.tensor(noisy, device=logits.device)
        return logits.index_copy(0, index, self._noisy(logits[index], [rows[i] for i in noisy]))

    @staticmethod
    def _process(logits: Tensor, rows: list[Row]) -> Tensor:
        changed = [i for i, row in enumerate(rows) if needs_processing(row.sequence.params)]
        if len(changed) == len(rows):
            logits = logits.clone()
            process(logits, rows)
        elif changed:
            index = torch.tensor(changed, device=logits.device)
            some = logits[index]
            process(some, [rows[i] for i in changed])
            logits = logits.index_copy(0, index, some)
        return apply_grammars(logits, rows)

    def _noisy(self, logits: Tensor, rows: list[Row]) -> Tensor:
        scores = filtered_log_probs(logits, [row.sequence.params for row in rows])
        seeds = torch.tensor([row.sequence.seed for row in rows], device=logits.device)
        positions = torch.tensor([row.position for row in rows], device=logits.device)
        return scores + self.noise(seeds, positions, scores.dtype)


def _argmax(scores: Tensor) -> Tensor:
    """int64 [rows]: the first of the largest in each row; on a CPU by numpy, in a fraction of torch's time."""
    return torch.from_numpy(scores.numpy().argmax(-1)) if scores.device.type == "cpu" else scores.argmax(-1)
