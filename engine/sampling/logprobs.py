"""Log-probabilities of chosen tokens, from raw AR logits as vLLM's default reports them."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.messages import TokenLogprobs


@torch.inference_mode()
def token_logprobs(logits: Tensor, token_ids: list[int], count: int) -> list[TokenLogprobs]:
    """Per row of logits [rows, vocab_size]: the token's log-probability and rank, and the `count` best tokens."""
    logprobs = logits.log_softmax(-1)
    chosen = logprobs.gather(1, torch.tensor(token_ids, device=logits.device)[:, None])
    ranks = ((logprobs > chosen).sum(-1) + 1).tolist()
    top = logprobs.topk(min(count, logprobs.shape[-1]), dim=-1)
    return [
        TokenLogprobs(token, logprob, rank, ids, values)
        for token, logprob, rank, ids, values in zip(
            token_ids, chosen[:, 0].tolist(), ranks, top.indices.tolist(), top.values.tolist(), strict=True
        )
    ]
