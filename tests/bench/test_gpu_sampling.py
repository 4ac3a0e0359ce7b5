"""The benchmark of filters compares kernels and sort, here in Triton's interpreter on a few tokens."""

from __future__ import annotations

import torch

from bench.gpu.sampling import ASKED, measure_filtering, table

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def test_both_ways_keep_the_same_tokens_and_take_some_time() -> None:
    found = [measure_filtering(label, 1, 100, DEVICE) for label in ASKED]
    assert all(one.differing == 0 and one.seconds > 0 and one.sort_seconds > 0 for one in found)
    assert table(found).row_count == len(ASKED)
