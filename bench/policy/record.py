"""Records a model's acceptance: how many drafts would have been right at every position of its own greedy answers."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from bench.prompt_file import load_prompts
from engine import LLM, SamplingParams
from models.checkpoint import load_decoder
from models.training.block_mask import BlockLayout
from models.training.objective import ForwardPass, doubled_logits

#: masks per block, the most the shipped model was trained with
DEPTH = 8


def record(model: Path, prompts: int, max_tokens: int) -> list[list[int]]:
    """One run per prompt: for every generated position, the drafts in a row that are right if d_0 stands there."""
    llm = LLM(model, decoding="ar")
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
    decoder = load_decoder(model, torch.float32)
    draft = decoder.config.draft
    if draft is None:
        raise ValueError(f"{model} has no tidar section in its config.json, so it cannot draft.")
    runs = []
    for text in load_prompts(None, prompts):
        answer = llm.generate([text], params)[0]
        tokens = torch.tensor([answer.prompt_token_ids + answer.token_ids])
        right = right_drafts(ForwardPass(decoder, torch.float32), tokens, draft.mask_token_id)
        runs.append(right[len(answer.prompt_token_ids) :])
    return runs


@torch.inference_mode()
def right_drafts(forward: ForwardPass, tokens: Tensor, mask_token_id: int) -> list[int]:
    """For every position of tokens int64 [1, length]: how many of the masks 1, 2, .. after d_0 = mask 0 are right.

    Blocks start at every DEPTH-th position; shifting them DEPTH times covers all. The last positions, whose block
    would leave the text, are left out.
    """
    length = tokens.shape[1]
    right = [0] * max(0, length - DEPTH)
    for offset in range(DEPTH):
        _, masks = doubled_logits(forward, tokens, BlockLayout(length, DEPTH, offset), mask_token_id)
        agrees = (masks.argmax(-1) == tokens)[0]
        for start in range(offset, length - DEPTH, DEPTH):
            right[start] = int(agrees[start + 1 : start + DEPTH].long().cumprod(0).sum())
    return right


def save(runs: list[list[int]], model: str, path: Path) -> None:
    path.write_text(json.dumps({"model": model, "runs": runs}) + "\n")
