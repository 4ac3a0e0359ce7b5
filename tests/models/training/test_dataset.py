"""Windows of a token file: every one once an epoch, the same for the same step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import ModelError
from models.training.dataset import TokenFile, write_tokens


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    path = tmp_path / "train.bin"
    assert write_tokens(path, [list(range(60)), list(range(60, 101))]) == 101
    return TokenFile(path)


def test_documents_follow_each_other_in_the_file(tokens: TokenFile) -> None:
    assert tokens.tokens.tolist() == list(range(101))


def test_a_window_is_a_run_of_length_plus_one_tokens(tokens: TokenFile) -> None:
    batch = tokens.batch(0, size=3, length=10, seed=0)
    assert batch.dtype == torch.int64 and batch.shape == (3, 11)
    assert (batch.diff(dim=1) == 1).all()


def test_an_epoch_visits_every_window_once_and_the_next_one_in_another_order(tokens: TokenFile) -> None:
    # 101 tokens make 9 windows of 10 at any offset
    first, second = (tokens.batch(epoch, size=9, length=10, seed=0)[:, 0].tolist() for epoch in (0, 1))
    assert [np.diff(sorted(starts)).tolist() for starts in (first, second)] == [[10] * 8] * 2
    assert np.argsort(first).tolist() != np.argsort(second).tolist()


def test_a_batch_depends_on_nothing_but_its_arguments(tokens: TokenFile) -> None:
    expected = tokens.batch(7, 2, 10, seed=4)
    tokens.batch(0, 2, 20, seed=1)
    assert torch.equal(tokens.batch(7, 2, 10, seed=4), expected)
    assert not torch.equal(tokens.batch(7, 2, 10, seed=5), expected)


def test_a_missing_or_too_short_file_is_a_clear_error(tmp_path: Path, tokens: TokenFile) -> None:
    with pytest.raises(ModelError, match="run `tidar train data` first"):
        TokenFile(tmp_path / "none.bin")
    with pytest.raises(ModelError, match="too few for windows of 64"):
        tokens.batch(0, 1, 64, seed=0)
