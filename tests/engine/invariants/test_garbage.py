"""Invariant 3: NaN in unused pages, rejected slots and padding changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.engine import Engine
from tests.engine.drive import acceptance, endings, make_engine, run
from tests.engine.workload import workload

NAN = float("nan")


def poison(engine: Engine) -> None:
    """NaN in every slot but the null page and the prefixes of running sequences."""
    storage, size = engine.runner.attention.storage, engine.config.page_size
    live = torch.zeros(storage.slots.shape[1], dtype=torch.bool)
    live[:size] = True
    for sequence in engine.scheduler.running:
        for position in range(sequence.prefix_len):
            live[sequence.pages[position // size] * size + position % size] = True
    storage.slots[:, ~live] = NAN


def poison_beyond_prefixes(engine: Engine) -> None:
    """NaN in rejected drafts' slots and in scratch: what may hold garbage even while free pages are cached."""
    storage, size = engine.runner.attention.storage, engine.config.page_size
    storage.slots[:, storage.scratch_start :] = NAN
    for sequence in engine.scheduler.running:
        for position in range(sequence.prefix_len, len(sequence.pages) * size):
            storage.slots[:, sequence.pages[position // size] * size + position % size] = NAN


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_nan_in_every_slot_that_holds_no_live_token_changes_nothing(learned: Path, k: int) -> None:
    settings = {"draft_length": k, "predrafts": "full", "enable_prefix_caching": False, "page_size": 8}
    clean = run(make_engine(learned, **settings), workload(15))
    engine = make_engine(learned, max_num_batched_tokens=100, max_num_seqs=9, **settings)
    assert endings(run(engine, workload(15), poison)) == endings(clean)
    assert k == 1 or acceptance(engine) > 1.1
    assert torch.isnan(engine.runner.attention.storage.slots).any()


def test_nan_in_rejected_slots_and_scratch_changes_nothing_beside_cached_pages(learned: Path) -> None:
    settings = {"draft_length": 4, "predrafts": "2", "page_size": 4}
    clean = run(make_engine(learned, **settings), workload(15))
    engine = make_engine(learned, num_pages=50, **settings)
    assert endings(run(engine, workload(15), poison_beyond_prefixes)) == endings(clean)
    assert engine.stats().prefix_cache_hits > 0
    assert engine.stats().preemptions > 0


@pytest.mark.parametrize("predrafts", ["full", "none", "auto"])
def test_the_null_page_stays_zero(learned: Path, predrafts: str) -> None:
    engine = make_engine(learned, draft_length=8, predrafts=predrafts, page_size=4, num_pages=60)
    run(engine, workload(15))
    assert not engine.runner.attention.storage.slots[:, :4].any()
