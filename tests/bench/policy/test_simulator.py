"""The simulator counts what the engine would commit and pay, and the automatic policy holds its promise on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.policy.machines import CPU_5M, H100_8B, Table
from bench.policy.priced import priced_runs
from bench.policy.record import DEPTH, right_drafts
from bench.policy.simulate import simulate
from bench.policy.sweep import sweep
from bench.policy.traces import Rate, collapsing, constant, drawn, mixed, recorded
from bench.prompt_file import load_prompts
from engine import SamplingParams
from engine.policy.base import Load
from engine.policy.fixed import FixedPolicy
from engine.strategies.base import DraftChoice
from models.checkpoint import load_decoder
from models.tokenizer import Tokenizer
from models.training.objective import ForwardPass

SHIPPED = Path(__file__).parents[3] / "models" / "shipped" / "tidar-python-5m"
#: every row costs a second, and every step one more
PRICED = Table("a second a row", rows=(1, 1001), milliseconds=(2_000.0, 1_002_000.0))


def test_ar_commits_one_token_a_step_and_sequence() -> None:
    run = simulate(FixedPolicy(1, 0), PRICED, np.full((3, 50), 9), concurrency=3)
    assert (run.tokens, run.steps, run.seconds) == (150, 50, pytest.approx(50 * 4.0))


def test_full_windows_commit_what_the_trace_allows_after_one_cold_step() -> None:
    """k = 4, two drafts right at every position: 1 cold step of 5 rows, then 3 tokens from each 20 rows."""
    run = simulate(FixedPolicy(4, 4), PRICED, np.full((1, 31), 2), concurrency=1)
    assert (run.tokens, run.steps, run.seconds) == (31, 11, pytest.approx(6.0 + 10 * 21.0))


def test_without_groups_every_other_step_is_cold() -> None:
    """k = 3, all right: steps of 4 rows for d_0 alone, and of 3 rows for three tokens."""
    run = simulate(FixedPolicy(3, 0), PRICED, np.full((1, 40), 9), concurrency=1)
    assert (run.tokens, run.steps, run.seconds) == (40, 20, pytest.approx(10 * 5.0 + 10 * 4.0))


def test_the_next_request_takes_the_place_of_one_that_ends_and_the_thin_end_is_not_counted() -> None:
    run = simulate(FixedPolicy(1, 0), PRICED, np.full((5, 10), 0), concurrency=2)
    assert (run.tokens, run.steps) == (40, 20)


def test_a_table_is_exact_at_its_points_and_in_proportion_beyond() -> None:
    table = Table("", rows=(1, 8, 64), milliseconds=(1.0, 2.0, 10.0), per_sequence=1e-3)
    times = [table.seconds(rows, Load(1)) * 1e3 for rows in (1, 8, 36, 64, 128)]
    assert times == pytest.approx([1.0, 2.0, 6.0, 10.0, 20.0])
    assert table.seconds(8, Load(3)) == pytest.approx(4e-3)


def test_the_h100_costs_what_was_published_for_full_windows() -> None:
    """8B, k = 16 with all groups: about 1.3 AR steps for one sequence and 9 for eight."""
    for sequences, expected in ((1, 1.25), (8, 9.0)):
        load = Load(sequences, 500 * sequences)
        rows = sequences * DraftChoice(16, tuple(range(1, 17))).rows
        ratio = H100_8B.seconds(rows, load) / H100_8B.seconds(sequences, load)
        assert ratio == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("concurrency", "least"), [(1, 4.2), (8, 3.0), (32, 2.2)])
def test_auto_gains_what_four_right_drafts_in_five_are_worth(concurrency: int, least: float) -> None:
    trace = drawn(max(24, 4 * concurrency), 256, constant(0.8))
    assert sweep(H100_8B, trace, concurrency, [2, 4, 8, 12, 16]).speed_up >= least


@pytest.mark.parametrize("concurrency", [1, 8, 24])
@pytest.mark.parametrize("rate", [collapsing(0.95, 0.0, 80), mixed(0.95, 0.1)], ids=["collapsing", "hot and cold"])
def test_auto_misses_little_of_the_best_fixed_setting_in_hindsight(rate: Rate, concurrency: int) -> None:
    point = sweep(H100_8B, drawn(max(24, 4 * concurrency), 256, rate), concurrency, [2, 4, 8, 16])
    assert point.regret <= 0.05


@pytest.mark.parametrize("concurrency", [1, 4, 16, 48])
def test_where_drafts_do_not_pay_auto_is_ar_at_ar_s_price(concurrency: int) -> None:
    trace = drawn(max(24, 2 * concurrency), 256, constant(0.02))
    assert sweep(CPU_5M, trace, concurrency, [2, 4]).speed_up >= 0.97


def test_the_recorded_trace_is_the_shipped_model_s_and_repeats_end_to_end() -> None:
    trace = recorded(3, 4000)
    assert trace.shape == (3, 4000)
    assert trace.max() < DEPTH and 0.5 < trace.mean() < DEPTH - 1


def test_recording_finds_at_each_position_how_many_masks_in_a_row_are_right() -> None:
    """The shipped model on real code, checked against one forward per block with a plain mask."""
    decoder = load_decoder(SHIPPED, torch.float32)
    draft = decoder.config.draft
    assert draft is not None
    forward = ForwardPass(decoder, torch.float32)
    tokens = torch.tensor([Tokenizer.from_folder(SHIPPED).encode(load_prompts(None, 1)[0])[:48]])
    right = right_drafts(forward, tokens, draft.mask_token_id)
    expected = []
    for start in range(tokens.shape[1] - DEPTH):
        said = block_logits(forward, tokens[0, :start], draft.mask_token_id).argmax(-1)[1:]
        expected.append(int((said == tokens[0, start + 1 : start + DEPTH]).long().cumprod(0).sum()))
    assert right == expected
    assert max(right) >= 2


@torch.inference_mode()
def block_logits(forward: ForwardPass, clean: torch.Tensor, mask_token_id: int) -> torch.Tensor:
    """Logits of a block of masks after these clean tokens, by plain attention with a mask."""
    length = len(clean) + DEPTH
    tokens = torch.cat([clean, torch.full((DEPTH,), mask_token_id)])
    visible = torch.ones(length, length, dtype=torch.bool).tril()
    visible[len(clean) :, len(clean) :] = True

    def attention(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        heads = (x.transpose(0, 1) for x in (q, k, v))
        out = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=visible, enable_gqa=True)
        return out.transpose(0, 1)

    return forward.logits(tokens, torch.arange(length), attention)[len(clean) :]


def test_priced_runs_charge_each_decode_step_by_its_rows() -> None:
    """AR pays a step and a row for every token; with rows this dear nothing else comes near it."""
    params = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
    runs = priced_runs(SHIPPED, PRICED, 1, 4, 2, params)
    assert runs[0].setting == "AR" and runs[0].tokens_per_forward == 1
    assert runs[0].rate == pytest.approx(1 / 2)
    full = runs[1]
    assert full.tokens_per_forward > 1.2
    assert full.rate == pytest.approx(full.tokens_per_forward / 20, rel=0.35)
    assert runs[-1].setting == "auto k≤4" and runs[-1].rate > full.rate
