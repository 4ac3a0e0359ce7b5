"""Under a grammar too, TiDAR says what AR says, whatever the drafts, the batch and the cache's size."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from msgspec.structs import replace

from engine.engine import Engine
from engine.params import Grammar
from engine.strategies.tree_verify import DraftTree
from models.config import ModelConfig
from tests.engine.drive import Done, acceptance, endings, make_engine, make_refining_engine, request, run
from tests.engine.grammar.tiny_tokens import text_of
from tests.engine.grammar.workload import GRAMMARS, SCHEMA, grammar_workload
from tests.engine.tiny import CONTEXT, FIRST
from tests.models.eagle_heads import save_eagle


def say(done: dict[str, Done]) -> dict[str, Any]:
    return {key: (*ending, done[key].error) for key, ending in endings(done).items()}


@pytest.fixture(scope="module", params=["speller", "babbler"])
def checkpoint(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> dict[str, Done]:
    """Every request alone, one token per forward."""
    engine = make_engine(checkpoint, decoding="ar", max_num_seqs=1, enable_prefix_caching=False)
    return run(engine, grammar_workload())


def test_the_workload_is_worth_comparing(plain: dict[str, Done]) -> None:
    reasons = [answer.finish_reason for answer in plain.values()]
    assert reasons.count("stop") > 15
    assert reasons.count("length") > 10
    assert len({tuple(answer.token_ids) for answer in plain.values()}) > 40


def test_whole_answers_match_their_grammar(plain: dict[str, Done]) -> None:
    whole = {key: text_of(a.token_ids) for key, a in plain.items() if a.finish_reason == "stop" and key[-1] != "5"}
    schema = [json.loads(text) for key, text in whole.items() if key.startswith("json_schema")]
    for value in schema:
        jsonschema.validate(value, SCHEMA)
    assert all(isinstance(json.loads(text), dict) for key, text in whole.items() if key.startswith("json_object"))
    for name in ("regex", "letters"):
        texts = [text for key, text in whole.items() if key.startswith(name)]
        assert all(re.fullmatch(GRAMMARS[name].source, text) for text in texts)
    choices = [text for key, text in whole.items() if key.startswith("choice")]
    assert choices and set(choices) <= set(json.loads(GRAMMARS["choice"].source))


def test_right_trees_go_to_the_end_of_a_grammar_with_logprobs_too(
    checkpoint: Path, plain: dict[str, Done], tmp_path: Path
) -> None:
    """The last accepted draft may complete the grammar; the row after it has no token."""
    head = save_eagle(tmp_path, ModelConfig.from_folder(checkpoint), 48, eagle_aux_hidden_state_layer_ids=[1, 1, 2])
    drafter = {"decoding": "eagle3", "draft_model": str(head), "draft_width": 2}
    engine = make_engine(checkpoint, draft_length=4, predrafts="none", **drafter)

    def force(engine: Engine) -> None:
        for sequence in engine.scheduler.running:
            coming = plain[sequence.request_id].token_ids[sequence.output_len :][:3]
            if sequence.decoding and coming:
                sequence.state = DraftTree.of(coming, list(range(-1, len(coming) - 1)))

    asked = [replace(submit, params=replace(submit.params, logprobs=2)) for submit in grammar_workload()]
    done = run(engine, asked, force)
    assert say(done) == say(plain)
    assert all(len(answer.logprobs) == len(answer.token_ids) for answer in done.values())
    assert acceptance(engine) > 1.5


@pytest.mark.parametrize("scheme", ["sdlm", "linear", "idlm"])
def test_other_ways_of_drafting_say_what_ar_says(
    checkpoint: Path, plain: dict[str, Done], scheme: str, tmp_path: Path
) -> None:
    """The same weights under another scheme: worse drafts, equal tokens."""
    shutil.copytree(checkpoint, tmp_path / "model")
    config = json.loads((checkpoint / "config.json").read_text())
    config["tidar"] |= {"scheme": scheme, "shift": 0 if scheme == "linear" else 1}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    engine = make_engine(tmp_path / "model", decoding=scheme, draft_length=4, predrafts="full")
    assert say(run(engine, grammar_workload())) == say(plain)


@pytest.mark.parametrize("predrafts", ["full", "none", "1"])
@pytest.mark.parametrize("k", [2, 4, 8])
def test_tidar_says_what_ar_says(checkpoint: Path, plain: dict[str, Done], k: int, predrafts: str) -> None:
    engine = make_engine(checkpoint, decoding="tidar", draft_length=k, predrafts=predrafts)
    assert say(run(engine, grammar_workload())) == say(plain)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_refined_windows_say_what_ar_says(checkpoint: Path, plain: dict[str, Done], k: int) -> None:
    """Also where a grammar's end leaves fewer drafts than the forward made."""
    engine = make_refining_engine(checkpoint, draft_length=k)
    assert say(run(engine, grammar_workload())) == say(plain)
    assert engine.stats().draft_tokens > 0


@pytest.mark.parametrize("settings", [{"max_num_seqs": 1}, {"max_num_seqs": 5, "max_num_batched_tokens": 40}])
def test_the_batch_changes_nothing(checkpoint: Path, plain: dict[str, Done], settings: dict[str, Any]) -> None:
    engine = make_engine(checkpoint, decoding="tidar", draft_length=4, predrafts="full", **settings)
    assert say(run(engine, grammar_workload())) == say(plain)


@pytest.mark.parametrize(("k", "caching"), [(2, True), (4, False), (8, True)])
def test_a_preempted_stream_keeps_its_place_in_the_grammar(
    checkpoint: Path, plain: dict[str, Done], k: int, caching: bool
) -> None:
    engine = make_engine(
        checkpoint,
        decoding="tidar",
        draft_length=k,
        predrafts="full",
        page_size=4,
        num_pages=CONTEXT // 4 + 8,
        enable_prefix_caching=caching,
    )
    done = run(engine, grammar_workload())
    assert say(done) == say(plain)
    preempted = [key for key, answer in done.items() if answer.steps and answer.steps.preemptions]
    assert len([key for key in preempted if not key.startswith("free")]) > 5


def test_drafts_follow_the_grammar_so_that_they_are_accepted(speller: Path) -> None:
    """A model that counts past t would draft digits; under the grammar its drafts have to be letters."""
    engine = make_engine(speller, decoding="tidar", draft_length=4, predrafts="full")
    asked = [
        request(f"{i}", [FIRST + i], grammar=GRAMMARS["letters"], max_tokens=60, ignore_eos=True) for i in range(6)
    ]
    run(engine, asked)
    assert acceptance(engine) > 1.5


def test_a_forced_text_comes_several_tokens_at_a_time(babbler: Path) -> None:
    """Where the grammar leaves one token, even random drafts are right."""
    engine = make_engine(babbler, decoding="tidar", draft_length=4, predrafts="full")
    forced = request("forced", [9, 8], grammar=Grammar("regex", "=;" * 10), max_tokens=40)
    assert text_of(run(engine, [forced])["forced"].token_ids) == "=;" * 10
    assert acceptance(engine) > 3.0
