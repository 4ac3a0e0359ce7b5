"""Invariant 5: EOS, a stop id or max_tokens inside a multi-token step cuts exactly there, and the counts agree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.drive import Done, make_engine, request, run
from tests.engine.test_forced_drafts import forcing, right
from tests.engine.tiny import FIRST
from tests.models import tokenizers_on_disk

K = 4
PROMPT = [10, 11, 12, 13]
LONG = 24

#: how many tokens past the first whole step of four the end comes
every_offset = pytest.mark.parametrize("offset", range(2 * K + 1))


@pytest.fixture(scope="module")
def whole(learned: Path) -> Done:
    """What the model says when nothing stops it: it counts, so that no token comes twice."""
    done = run(make_engine(learned, decoding="ar"), [request("x", PROMPT, max_tokens=LONG, ignore_eos=True)])["x"]
    assert len(set(done.token_ids)) == LONG
    return done


def at_full_speed(folder: Path, whole: Done, **params: Any) -> Done:
    """The same request with drafts that are all right: one token from the prompt, then four per step."""
    engine = make_engine(folder, decoding="tidar", draft_length=K, predrafts="full")
    asked = request("x", PROMPT, **{"max_tokens": LONG, "logprobs": 0, **params})
    done = run(engine, [asked], forcing({"x": whole}, K, right))["x"]
    assert done.steps is not None
    assert len(done.logprobs) == len(done.token_ids) == done.steps.committed + 1 == engine.stats().generation_tokens
    assert [entry.token_id for entry in done.logprobs] == done.token_ids
    return done


def pieces(offset: int) -> list[int]:
    """How `1 + K + offset` tokens are published: the first, whole steps, and what is left."""
    return [1, K, *[K] * (offset // K), *([offset % K] if offset % K else [])]


@every_offset
def test_max_tokens_cuts_at_every_offset_of_a_step(learned: Path, whole: Done, offset: int) -> None:
    done = at_full_speed(learned, whole, max_tokens=1 + K + offset, ignore_eos=True)
    assert done.token_ids == whole.token_ids[: 1 + K + offset]
    assert (done.finish_reason, done.stop_token_id) == ("length", None)
    assert done.pieces == pieces(offset)


@every_offset
def test_a_stop_id_cuts_at_every_offset_of_a_step(learned: Path, whole: Done, offset: int) -> None:
    stop = whole.token_ids[K + offset]
    done = at_full_speed(learned, whole, stop_token_ids=[FIRST, stop], ignore_eos=True)
    assert done.token_ids == whole.token_ids[: 1 + K + offset]
    assert (done.finish_reason, done.stop_token_id) == ("stop", stop)
    assert done.pieces == pieces(offset)


@every_offset
def test_eos_cuts_at_every_offset_of_a_step(learned: Path, whole: Done, offset: int, tmp_path: Path) -> None:
    eos = whole.token_ids[K + offset]
    folder = with_eos(learned, tmp_path / "checkpoint", eos)
    done = at_full_speed(folder, whole)
    assert done.token_ids == whole.token_ids[: 1 + K + offset]
    assert (done.finish_reason, done.stop_token_id) == ("stop", eos)
    assert done.pieces == pieces(offset)
    assert at_full_speed(folder, whole, ignore_eos=True).token_ids == whole.token_ids


def with_eos(folder: Path, copy: Path, eos: int) -> Path:
    """A copy of the checkpoint that ends at another token."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "eos_token_id": [eos]}))
    return copy


def test_the_tokenizers_own_end_token_cuts_too(learned: Path, whole: Done, tmp_path: Path) -> None:
    """Named in tokenizer_config.json alone, by its text."""
    eos = whole.token_ids[K + 2]
    folder = with_eos(learned, tmp_path / "checkpoint", 0)
    fast = tokenizers_on_disk.byte_level()
    tokenizers_on_disk.write(folder, fast, eos_token=fast.id_to_token(eos))
    done = at_full_speed(folder, whole)
    assert done.token_ids == whole.token_ids[: 1 + K + 2]
    assert (done.finish_reason, done.stop_token_id) == ("stop", eos)


def test_a_stop_id_on_the_last_allowed_token_counts_as_a_stop(learned: Path, whole: Done) -> None:
    stop = whole.token_ids[6]
    done = at_full_speed(learned, whole, max_tokens=7, stop_token_ids=[stop])
    assert (len(done.token_ids), done.finish_reason, done.stop_token_id) == (7, "stop", stop)


def test_the_end_of_the_context_is_a_length(learned: Path, whole: Done) -> None:
    engine = make_engine(learned, draft_length=K, max_model_len=17)
    done = run(engine, [request("x", PROMPT, max_tokens=None, ignore_eos=True)])["x"]
    assert done.token_ids == whole.token_ids[:13]
    assert done.finish_reason == "length"


@pytest.mark.parametrize("decoding", ["ar", "tidar"])
@pytest.mark.parametrize("least", [0, 1, 5, 6, 7])
def test_no_stop_id_comes_within_the_first_min_tokens(learned: Path, decoding: str, least: int) -> None:
    """Every likely token is a stop id, so the first that may stop the text does."""
    likely = list(range(FIRST, 60))
    engine = make_engine(learned, decoding=decoding)
    asked = request("x", PROMPT, max_tokens=20, stop_token_ids=likely, min_tokens=least, ignore_eos=True)
    done = run(engine, [asked])["x"]
    assert len(done.token_ids) > least
    assert not set(done.token_ids[:least]) & set(likely)
    assert done.finish_reason == "stop" and done.token_ids[-1] in likely
