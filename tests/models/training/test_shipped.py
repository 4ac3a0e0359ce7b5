"""The model in the repository: its size, its files, and that it has learnt what the card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.checkpoint import load_decoder
from models.training.evaluate import Evaluation, evaluate_in_parts
from models.training.objective import ForwardPass
from tests.models.training.tiny import SHIPPED

PROMPTS = Path(__file__).parents[3] / "bench" / "prompts" / "held_out_python.jsonl"
LENGTH = 128


@pytest.fixture(scope="module")
def windows() -> torch.Tensor:
    """int64 [24, LENGTH + 1]: the starts of held-out prompts that are long enough."""
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    texts = [json.loads(line)["prompt"] for line in PROMPTS.open()]
    rows = [ids for ids in (tokenizer(text)["input_ids"] for text in texts) if len(ids) > LENGTH]
    return torch.tensor([ids[: LENGTH + 1] for ids in rows[:24]])


def test_it_has_at_most_ten_million_parameters_in_at_most_20_megabytes() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 20_000_000
    decoder = load_decoder(SHIPPED, torch.float32)
    assert sum(parameter.numel() for parameter in decoder.parameters()) < 10_000_000


def test_its_config_says_how_it_drafts_and_where_it_ends() -> None:
    config = load_decoder(SHIPPED, torch.float32).config
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    assert config.draft is not None
    assert config.draft.mask_token_id == tokenizer.mask_token_id
    assert set(config.eos_token_ids) == {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")}
    assert config.vocab_size == len(tokenizer)


def test_it_predicts_and_drafts_code_that_it_has_never_seen(windows: torch.Tensor) -> None:
    forward = ForwardPass(load_decoder(SHIPPED, torch.float32), torch.float32)
    result: Evaluation = evaluate_in_parts(forward, windows, 4, mask_token_id=1)
    uniform = torch.tensor(1024.0).log()
    assert result.loss_ar < uniform / 2 and result.loss_diffusion < 0.75 * uniform
    assert result.agreement[0] > 0.5 and result.tokens_per_forward > 1.4


def test_transformers_runs_it_as_a_plain_ar_model(windows: torch.Tensor) -> None:
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)
    with torch.no_grad():
        logits = model(windows[:4, :-1]).logits
    assert F.cross_entropy(logits.flatten(0, 1), windows[:4, 1:].flatten()) < 3.5
    out = model.generate(windows[:1, :20], max_new_tokens=8, do_sample=False)
    assert out.shape[1] <= 28
