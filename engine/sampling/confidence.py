"""How sure the model is of a token, as denoising schemes measure it; more is surer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Confidence = Literal["probability", "margin", "entropy"]


@torch.inference_mode()
def confidences(logits: Tensor, token_ids: list[int], measure: Confidence) -> list[float]:
    """Per row of raw logits [rows, vocab_size]: the token's probability, the lead of the best token over the second in
    probability, or the negative entropy in nats."""
    if measure == "entropy":
        logprobs = logits.log_softmax(-1)
        # 0 · -inf is 0 here: a token that cannot come says nothing
        sure = (logprobs.exp() * logprobs.clamp(min=torch.finfo(logprobs.dtype).min)).sum(-1)
    else:
        probabilities = logits.softmax(-1)
        if measure == "probability":
            sure = probabilities.gather(1, torch.tensor(token_ids, device=logits.device)[:, None])[:, 0]
        else:
            best = probabilities.topk(2, dim=-1).values
            sure = best[:, 0] - best[:, 1]
    values: list[float] = sure.tolist()
    return values
