"""The dual loss, and that neither half of the doubled sequence sees what it may not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.training.block_mask import BlockLayout, CausalAttention
from models.training.objective import ForwardPass, ar_losses, doubled_logits, tidar_losses
from tests.models.training.tiny import MASK, tiny_decoder

LENGTH = 16


@pytest.fixture(scope="module")
def forward() -> ForwardPass:
    return ForwardPass(tiny_decoder(dtype=torch.float32), torch.float32)


@pytest.fixture
def windows() -> Tensor:
    return torch.randint(4, 1024, (2, LENGTH + 1), generator=torch.Generator().manual_seed(3))


def test_the_clean_half_is_a_plain_causal_forward(forward: ForwardPass, windows: Tensor) -> None:
    inputs = windows[:, :-1]
    clean, _ = doubled_logits(forward, inputs, BlockLayout(LENGTH, 4, 1), MASK)
    positions = torch.arange(LENGTH).repeat(2)
    plain = forward.logits(inputs.flatten(), positions, CausalAttention(2, LENGTH)).unflatten(0, (2, LENGTH))
    torch.testing.assert_close(clean, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("changed", [3, 4, 9, LENGTH - 1])
def test_no_row_sees_a_future_token(forward: ForwardPass, windows: Tensor, changed: int) -> None:
    layout = BlockLayout(LENGTH, 4)
    inputs = windows[:, :-1]
    other = inputs.clone()
    other[:, changed] = (other[:, changed] + 1) % 1024
    before, masks_before = doubled_logits(forward, inputs, layout, MASK)
    after, masks_after = doubled_logits(forward, other, layout, MASK)
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert not torch.equal(before[:, changed], after[:, changed])
    # a mask block sees only what comes before it, so the change first shows in the next block
    next_block = (changed // 4 + 1) * 4
    assert torch.equal(masks_before[:, :next_block], masks_after[:, :next_block])
    if next_block < LENGTH:
        assert not torch.equal(masks_before[:, next_block], masks_after[:, next_block])


def test_a_mask_sees_the_later_masks_of_its_block(forward: ForwardPass, windows: Tensor) -> None:
    inputs = windows[:, :-1]
    _, short = doubled_logits(forward, inputs, BlockLayout(LENGTH, 4), MASK)
    _, long = doubled_logits(forward, inputs, BlockLayout(LENGTH, 8), MASK)
    # position 8 starts a block in both, with the same clean tokens before it
    assert not torch.allclose(short[:, 8], long[:, 8], atol=1e-4)


def test_the_mask_half_learns_its_own_position_and_the_clean_half_the_next(
    forward: ForwardPass, windows: Tensor
) -> None:
    layout = BlockLayout(LENGTH, 4, 2)
    clean, masks = doubled_logits(forward, windows[:, :-1], layout, MASK)
    ar = F.cross_entropy(clean.reshape(-1, 1024), windows[:, 1:].reshape(-1))
    own = F.cross_entropy(masks[:, 1:].reshape(-1, 1024), windows[:, 1:-1].reshape(-1))
    losses = tidar_losses(forward, windows, layout, MASK, "ce", alpha=3.0)
    assert losses.diffusion is not None
    torch.testing.assert_close(losses.ar, ar)
    torch.testing.assert_close(losses.diffusion, own)
    torch.testing.assert_close(losses.total, (3 * ar + own) / 4)


def test_the_pull_to_the_ar_row_is_a_kl_divergence_and_both_is_the_mean(forward: ForwardPass, windows: Tensor) -> None:
    layout = BlockLayout(LENGTH, 4)
    clean, masks = doubled_logits(forward, windows[:, :-1], layout, MASK)
    teacher, student = clean[:, :-1].softmax(-1), masks[:, 1:].log_softmax(-1)
    pull = (teacher * (teacher.log() - student)).sum(-1).mean()
    ce, kl, both = (tidar_losses(forward, windows, layout, MASK, target) for target in ("ce", "kl", "both"))
    torch.testing.assert_close(kl.total, (kl.ar + pull) / 2)
    torch.testing.assert_close(both.total, (ce.total + kl.total) / 2)


def test_the_pull_is_zero_where_mask_rows_equal_ar_rows(
    forward: ForwardPass, windows: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = torch.randn(2, LENGTH, 1024, generator=torch.Generator().manual_seed(5))
    # mask row p predicts position p, as AR row p - 1 does
    masks = torch.cat([torch.zeros(2, 1, 1024), rows[:, :-1]], 1)
    monkeypatch.setattr("models.training.objective.doubled_logits", lambda *_: (rows, masks))
    losses = tidar_losses(forward, windows, BlockLayout(LENGTH, 4), MASK, "kl")
    torch.testing.assert_close(losses.total, losses.ar / 2)


def test_self_distillation_sends_no_gradient_into_its_teacher(windows: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = torch.randn(2, LENGTH, 1024, requires_grad=True)
    masks = torch.randn(2, LENGTH, 1024, requires_grad=True)
    monkeypatch.setattr("models.training.objective.doubled_logits", lambda *_: (clean, masks))
    tidar_losses(
        ForwardPass(tiny_decoder(), torch.float32), windows, BlockLayout(LENGTH, 4), MASK, "kl", 0
    ).total.backward()
    assert clean.grad is not None and not clean.grad.any()
    assert masks.grad is not None and masks.grad.any()


def test_bfloat16_computes_near_float32_and_its_gradients_reach_the_float32_masters(windows: Tensor) -> None:
    decoder = tiny_decoder(dtype=torch.float32)
    exact = ar_losses(ForwardPass(decoder, torch.float32), windows).total
    rough = ar_losses(ForwardPass(decoder, torch.bfloat16), windows).total
    rough.backward()
    assert abs(float(exact.detach()) - float(rough.detach())) < 0.1
    gradients = [parameter.grad for parameter in decoder.parameters()]
    assert all(grad is not None and grad.dtype == torch.float32 and grad.any() for grad in gradients)
