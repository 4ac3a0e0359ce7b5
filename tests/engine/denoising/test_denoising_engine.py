"""Denoising schemes in an engine: what they refuse, who waits for whom, and how tokens reach the client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import EngineError, RequestError
from engine.params import Grammar
from engine.strategies.full_denoising import dream_share
from engine.strategies.registry import CHECKPOINTS, SCHEMES, SHIFTED
from engine.strategies.unmasking import Unmasking
from models.drafting import SCHEMES as DRAFTS
from tests.engine.denoising.cases import requests
from tests.engine.denoising.conftest import save_denoiser
from tests.engine.drive import Done, make_engine, run, tokens
from tests.engine.drive import request as ask
from tests.engine.tiny import EOS

DECODINGS = [("sdar", "block-diffusion"), ("dream", "d2f"), ("llada", "llada"), ("dream", "dream")]


@pytest.fixture(params=DECODINGS, ids=lambda pair: pair[1])
def denoiser(request: pytest.FixtureRequest) -> tuple[Path, str]:
    checkpoint, decoding = request.param
    return request.getfixturevalue(checkpoint), decoding


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"grammar": Grammar("regex", "a+")}, "grammar"),
        ({"bad_words": [[5, 6]]}, "bad_words"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
    ],
)
def test_what_needs_an_order_is_refused_in_one_sentence(
    denoiser: tuple[Path, str], fields: dict[str, Any], param: str
) -> None:
    folder, decoding = denoiser
    engine = make_engine(folder, decoding=decoding)
    with pytest.raises(RequestError) as refused:
        engine.submit(ask("a", [5, 6, 7], **fields))
    assert refused.value.param == param
    assert not engine.has_work


def test_a_text_that_is_seen_at_once_must_fit_into_a_step(llada: Path, dream: Path) -> None:
    engine = make_engine(llada, max_num_batched_tokens=20)
    with pytest.raises(RequestError, match=r"21 tokens.*at most 20") as refused:
        engine.submit(ask("a", [5] * 10, max_tokens=11))
    assert refused.value.param == "max_tokens"
    engine = make_engine(dream, decoding="d2f", max_num_batched_tokens=20)
    with pytest.raises(RequestError, match=r"21 tokens.*at most 20") as refused:
        engine.submit(ask("a", [5] * 21, max_tokens=11))
    assert refused.value.param == "prompt"


@pytest.mark.parametrize(
    ("checkpoint", "settings", "message"),
    [
        ("learned", {"decoding": "d2f"}, "tidar or ar or block-diffusion"),
        ("without_drafts", {"decoding": "block-diffusion"}, "tidar section"),
        ("sdar", {"decoding": "ar"}, "use block-diffusion"),
        ("sdar", {"async_scheduling": True}, "async-scheduling"),
        ("sdar", {"draft_length": 8, "max_num_batched_tokens": 7}, "8 rows"),
        ("sdar", {"denoise_cache": True}, "--denoise-cache"),
        ("learned", {"denoise_steps": 3}, "--denoise-steps"),
        ("dream", {"denoise_threshold": 0.5}, "--denoise-threshold"),
        ("dream", {"denoise_order": "left-to-right"}, "surest"),
        ("sdar", {"denoise_order": "entropy", "denoise_threshold": 0.5}, "use --denoise-steps"),
        ("sdar", {"denoise_threshold": 1.5}, "0, 1"),
        ("sdar", {"denoise_steps": 0}, "at least 1"),
        ("sdar", {"denoise_order": "best"}, "confidence, margin"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_start_up(
    checkpoint: str, settings: dict[str, Any], message: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(EngineError, match=message):
        make_engine(request.getfixturevalue(checkpoint), **settings)


def test_every_way_a_checkpoint_drafts_has_a_way_to_be_decoded() -> None:
    # an adapter makes a checkpoint of its own kind of any that has none
    assert DRAFTS.keys() | {"", SHIFTED, "adapter"} == CHECKPOINTS.keys()
    named = {name for names in CHECKPOINTS.values() for name in names}
    assert named | {name for name, scheme in SCHEMES.items() if scheme.drafter is not None} == SCHEMES.keys()


@pytest.mark.parametrize(
    ("checkpoint", "published", "decoding"),
    [
        ("sdar", {"architectures": ["SDARForCausalLM"], "model_type": "sdar"}, "block-diffusion"),
        ("dream", {"architectures": ["DreamModel"], "model_type": "Dream"}, "dream"),
    ],
)
def test_published_checkpoints_choose_their_own_scheme(
    checkpoint: str, published: dict[str, Any], decoding: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The same weights under the config keys of their family, in place of a section of ours."""
    folder: Path = request.getfixturevalue(checkpoint)
    config = json.loads((folder / "config.json").read_text())
    ours = config.pop("tidar")
    config |= {**published, "mask_token_id": ours["mask_token_id"], "block_size": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    asked = requests(3)
    engine = make_engine(tmp_path)
    assert engine.ready().decoding == decoding
    assert run(engine, asked) == run(make_engine(folder), asked)


def test_nobody_starves_where_not_all_windows_fit_into_a_step(denoiser: tuple[Path, str]) -> None:
    """Whoever sat out a step takes part in the next that has room; outputs do not change."""
    folder, decoding = denoiser
    asked = [ask(f"{i}", [5 + i] * (3 + i), max_tokens=12, ignore_eos=True) for i in range(8)]
    alone = run(make_engine(folder, decoding=decoding, max_num_seqs=1), asked)
    engine = make_engine(folder, decoding=decoding, max_num_batched_tokens=25, draft_length=4)
    waits: dict[str, int] = {}
    schedule = engine.scheduler.schedule

    def watched(choice: Any) -> Any:
        windows = schedule(choice)
        assert sum(window.shape.rows for window in windows) <= 25
        taken = {window.sequence.request_id for window in windows}
        for sequence in engine.scheduler.running:
            waits[sequence.request_id] = 0 if sequence.request_id in taken else waits.get(sequence.request_id, 0) + 1
        assert max(waits.values()) < 8
        return windows

    engine.scheduler.schedule = watched  # type: ignore[method-assign]
    assert tokens(run(engine, asked)) == tokens(alone)


def test_tokens_come_as_soon_as_all_before_them_are_decided(sdar: Path) -> None:
    """Left to right within a block, so a block of 8 is told in several pieces and never taken back."""
    engine = make_engine(sdar, draft_length=8, denoise_order="left-to-right", denoise_steps=4)
    done = run(engine, [ask("a", [5, 6, 7, 8, 9, 10, 11, 12], max_tokens=16, ignore_eos=True)])["a"]
    assert done.pieces[:7] == [2] * 7
    assert sum(done.pieces) == 16


def test_a_shorter_output_is_the_beginning_of_a_longer_one(sdar: Path, dream: Path) -> None:
    """Blocks are whole whatever max_tokens is; a canvas that is seen at once is another text at another length."""
    for folder, decoding in ((sdar, "block-diffusion"), (dream, "d2f")):
        asked = [ask(f"{n}", [9, 8, 7], max_tokens=n, ignore_eos=True) for n in (1, 5, 6, 14)]
        done = run(make_engine(folder, decoding=decoding), asked)
        for answer in done.values():
            assert answer.token_ids == done["14"].token_ids[: len(answer.token_ids)]


def test_an_aborted_sequence_leaves_nothing_behind(denoiser: tuple[Path, str]) -> None:
    folder, decoding = denoiser
    engine = make_engine(folder, decoding=decoding)
    stepped = 0

    def abort(engine: Engine) -> None:
        nonlocal stepped
        stepped += 1
        if stepped == 3:
            engine.abort(["a", "c"])

    asked = [ask(name, [5, 6, 7], max_tokens=12, ignore_eos=True) for name in "abcd"]
    done: dict[str, Done] = run(engine, asked, abort)
    assert [answer.finish_reason for answer in done.values()] == ["abort", "length", "abort", "length"]


def test_counts_agree_with_what_was_said(denoiser: tuple[Path, str]) -> None:
    folder, decoding = denoiser
    engine = make_engine(folder, decoding=decoding)
    done = run(engine, requests(8, seed=4))
    for answer in done.values():
        assert answer.steps is not None
        assert answer.steps.committed <= len(answer.token_ids)
        lengths = enumerate(answer.steps.acceptance_lengths, start=1)
        assert answer.steps.committed == sum(length * steps for length, steps in lengths)
        assert answer.steps.forwards >= sum(answer.steps.acceptance_lengths)
    stats = engine.stats()
    assert stats.generation_tokens == sum(len(answer.token_ids) for answer in done.values())
    assert stats.decode_forwards == sum(answer.steps.forwards for answer in done.values() if answer.steps)


def test_a_stop_token_ends_the_output_in_the_middle_of_a_block(denoiser: tuple[Path, str]) -> None:
    folder, decoding = denoiser
    asked = ask("a", [5, 6, 7], max_tokens=12, ignore_eos=True)
    whole = run(make_engine(folder, decoding=decoding), [asked])["a"].token_ids
    index = next(i for i in (5, 6, 4, 7) if whole[i] not in whole[:i])
    stopping = ask("a", [5, 6, 7], max_tokens=12, ignore_eos=True, stop_token_ids=[whole[index]])
    done = run(make_engine(folder, decoding=decoding), [stopping])["a"]
    assert done.finish_reason == "stop" and done.stop_token_id == whole[index]
    if decoding != "d2f":
        # in a pipeline an end token keeps further blocks from being appended, which none of those before it sees
        assert done.token_ids == whole[: index + 1]


def test_the_share_of_a_step_leaves_the_same_to_each_that_follows() -> None:
    unmasking = Unmasking("confidence", None, steps=4)
    left, shares = 10, []
    for forwards in range(4):
        shares.append(len(unmasking.choose([0.1] * left, forwards)))
        left -= shares[-1]
    assert shares == [3, 3, 2, 2]


def test_dreams_schedule_rounds_down_and_the_last_step_takes_all() -> None:
    left, shares = 10, []
    for step in range(10):
        shares.append(dream_share(left, 10, step))
        left -= shares[-1]
    assert shares[0] == 0 and sum(shares) == 10 and shares[-1] == left + shares[-1]


def test_a_chunk_of_a_prompt_decides_nothing(tmp_path: Path) -> None:
    """Not even where the mask's id is larger than a hidden state is wide."""
    folder = save_denoiser(tmp_path, "block", mask_token_id=63)
    asked = ask("a", [5 + i % 40 for i in range(50)], max_tokens=10, ignore_eos=True)
    whole = run(make_engine(folder), [asked])["a"].token_ids
    engine = make_engine(folder, max_num_batched_tokens=18)
    assert run(engine, [asked])["a"].token_ids == whole
    assert engine.stats().forwards_by_kind["prefill"] > 2


@pytest.mark.parametrize(("checkpoint", "decoding"), [("learned", "block-diffusion"), ("sdar", "block-diffusion")])
def test_a_cached_prompt_changes_nothing(checkpoint: str, decoding: str, request: pytest.FixtureRequest) -> None:
    engine = make_engine(request.getfixturevalue(checkpoint), decoding=decoding, page_size=4)
    asked = requests(10, seed=6)
    first = tokens(run(engine, asked))
    assert tokens(run(engine, asked)) == first
    assert engine.stats().prefix_cache_hits > 40


def test_no_page_is_shared_where_its_kv_depend_on_what_follows(sdar: Path, dream: Path) -> None:
    for engine in (
        make_engine(dream, decoding="d2f", page_size=4),
        make_engine(sdar, draft_length=8, page_size=4),
        make_engine(dream, decoding="dream", page_size=4),
    ):
        asked = [ask("a", list(range(5, 25)), max_tokens=6)]
        assert tokens(run(engine, asked)) == tokens(run(engine, asked))
        assert engine.stats().prefix_cache_hits == 0


def test_an_end_token_is_no_mask(sdar: Path) -> None:
    """The mask is never said, not even where a request wants it most."""
    done = run(make_engine(sdar), [ask("a", [5, 6, 7], max_tokens=12, logit_bias={2: 100.0}, ignore_eos=True)])["a"]
    assert 2 not in done.token_ids
    ended = run(make_engine(sdar), [ask("a", [5, 6, 7], max_tokens=12, logit_bias={EOS: 100.0})])["a"]
    assert ended.token_ids == [EOS]
