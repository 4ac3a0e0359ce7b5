"""A sequence's place in its grammar: what may come next, drafts taken back, the end, and requests that cannot go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import RequestError
from engine.grammar.compiler import KEPT, GrammarCompiler
from engine.grammar.drafting import BoundDrafts, bind_drafts
from engine.grammar.matcher import Bits, Matcher
from engine.params import Grammar
from engine.sampling.processors import forbidden_here, forbidden_there
from tests.engine.drive import endings, make_engine, request, run
from tests.engine.grammar.tiny_tokens import SPECIAL, TEXTS, text_of
from tests.engine.grammar.workload import GRAMMARS
from tests.engine.tiny import EOS, MASK, VOCAB


@pytest.fixture(scope="module")
def compiler(babbler: Path) -> GrammarCompiler:
    return GrammarCompiler(babbler, VOCAB, [EOS])


def token(text: str) -> int:
    return len(SPECIAL) + TEXTS.index(text)


def matcher(compiler: GrammarCompiler, grammar: Grammar, ignore_eos: bool = False) -> Matcher:
    return Matcher(compiler.compile(grammar), ignore_eos)


def spelled(bits: Bits) -> set[str]:
    """The allowed tokens' texts, "end" for the end of text."""
    names = {EOS: "end", **{len(SPECIAL) + i: text for i, text in enumerate(TEXTS)}}
    held = np.unpackbits(bits.view(np.uint8), count=VOCAB, bitorder="little")
    return {names.get(int(index), "?") for index in np.flatnonzero(held)}


def test_only_what_can_still_match_is_allowed(compiler: GrammarCompiler) -> None:
    choice = matcher(compiler, Grammar("choice", '["abc", "abd", "12"]'))
    assert spelled(choice.allowed()) == {"a", "ab", "abc", "1", "12"}
    assert not choice.advance(token("ab"))
    assert spelled(choice.allowed()) == {"c", "d"}


def test_the_end_is_allowed_only_where_the_grammar_accepts(compiler: GrammarCompiler) -> None:
    digits = matcher(compiler, Grammar("regex", "[0-9]{2,3}"))
    assert "end" not in spelled(digits.allowed())
    digits.advance(token("4"))
    assert "end" not in spelled(digits.allowed())
    digits.advance(token("4"))
    assert "end" in spelled(digits.allowed())
    assert not digits.complete
    assert digits.advance(token("4"))
    assert digits.complete


def test_without_an_end_of_text_the_output_goes_on_as_long_as_it_can(compiler: GrammarCompiler) -> None:
    digits = matcher(compiler, Grammar("regex", "[0-9]{1,2}"), ignore_eos=True)
    digits.advance(token("4"))
    assert spelled(digits.allowed()) == set("0123456789")
    assert digits.advance(token("2"))


def test_drafts_are_taken_back_however_far_they_went(compiler: GrammarCompiler) -> None:
    drafted, plain = (matcher(compiler, GRAMMARS["json_schema"]) for _ in range(2))
    text = [
        '{"',
        "ab",
        '":',
        " ",
        '"',
        "c",
        '",',
        '"',
        "n",
        '":',
        "1",
        ",",
        '"',
        "l",
        "i",
        "s",
        "t",
        '":',
        "[",
        "]",
        "}",
    ]
    ids = [token(piece) for piece in text]
    for index, wanted in enumerate(ids):
        rest = ids[index : index + 5]
        rows = drafted.allowed_along([*rest[:3], MASK, *rest[3:]])
        assert [spelled(row) for row in rows[:1]] == [spelled(plain.allowed())]
        assert not any(row.any() for row in rows[len(rest[:3]) + 1 :])
        assert drafted.follow(rest)[0] == len(rest)
        drafted.take_back()
        assert drafted.advance(wanted) == plain.advance(wanted)
    assert drafted.complete and plain.complete


def test_rows_along_drafts_equal_those_of_one_token_at_a_time(compiler: GrammarCompiler) -> None:
    ids = [token(piece) for piece in ["abc", "d", ",", "(", "a", ")", "."]]
    along = matcher(compiler, GRAMMARS["lark"]).allowed_along(ids[:-1])
    stepped = matcher(compiler, GRAMMARS["lark"])
    for row, taken in zip(along, ids, strict=True):
        assert (row == stepped.allowed()).all()
        stepped.advance(taken)


def test_special_tokens_and_padding_are_never_text(babbler: Path) -> None:
    padded = GrammarCompiler(babbler, VOCAB + 40, [EOS])
    anything = Matcher(padded.compile(Grammar("regex", "(?s:.*)")), ignore_eos=True)
    bits = anything.allowed()
    held = np.unpackbits(bits.view(np.uint8), count=VOCAB + 40, bitorder="little")
    assert held[len(SPECIAL) : VOCAB].all()
    assert not held[: len(SPECIAL)].any()
    assert not held[VOCAB:].any()


def test_both_ways_to_unpack_bits_agree() -> None:
    packed = np.random.default_rng(0).integers(0, 256, (5, 128), dtype=np.uint8)
    here, there = (unpack(packed, 1001, torch.device("cpu")) for unpack in (forbidden_here, forbidden_there))
    assert here.shape == (5, 1001)
    assert torch.equal(here, there)
    assert here[2, 77] == (packed[2, 9] >> 5 & 1 == 0)


def test_compiled_grammars_are_kept_within_bounds(babbler: Path) -> None:
    compiler = GrammarCompiler(babbler, VOCAB, [EOS])
    first = Grammar("regex", "a")
    compiled = compiler.compile(first)
    assert compiler.compile(first) is compiled
    for count in range(KEPT):
        compiler.compile(Grammar("regex", f"a{{{count + 2}}}"))
    assert compiler.kept(first) is None


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar("json_schema", "{"),
        Grammar("json_schema", '{"type": "nothing"}'),
        Grammar("json_schema", "false"),
        Grammar("json_schema", '{"enum": []}'),
        Grammar("json_schema", '{"$ref": "#"}'),
        Grammar("json_schema", '{"$ref": "file:///etc/passwd"}'),
        Grammar("json_schema", '{"not": {"type": "string"}}'),
        Grammar("json_schema", '{"type":"object","properties":{"a":' * 200 + "{}" + "}}" * 200),
        Grammar("regex", "("),
        Grammar("regex", "(?=a)b"),
        Grammar("regex", r"(a)\1"),
        Grammar("regex", "a" * 300_000),
        Grammar("regex", "\ud800"),
        Grammar("choice", "abc"),
        Grammar("choice", "[]"),
        Grammar("choice", '[""]'),
        Grammar("choice", "[1]"),
        Grammar("lark", ""),
        Grammar("lark", "start: nothing"),
        Grammar("lark", "start: start"),
        Grammar("lark", "root ::= ((("),
    ],
    ids=lambda grammar: f"{grammar.kind} {grammar.source[:24]!a}",
)
def test_a_grammar_that_cannot_be_used_fails_its_request_alone(babbler: Path, grammar: Grammar) -> None:
    neighbours = [request(f"{i}", [7 + i], temperature=1.0, seed=i) for i in range(3)]
    expected = endings(run(make_engine(babbler), neighbours))
    done = run(make_engine(babbler), [request("bad", [5], grammar=grammar), *neighbours])
    failed = done.pop("bad")
    assert failed.finish_reason == "error"
    assert failed.token_ids == []
    assert failed.error is not None and failed.error.endswith(".") and "\n" not in failed.error
    assert endings(done) == expected


@pytest.mark.parametrize("decoding", ["ar", "tidar"])
def test_bans_that_leave_nothing_fail_the_request_alone(babbler: Path, decoding: str) -> None:
    bans: dict[str, dict[str, Any]] = {
        "at once": {"grammar": Grammar("regex", "[0-9]+"), "allowed_token_ids": [token("a")]},
        "later": {
            "grammar": Grammar("regex", "abc=a"),
            "allowed_token_ids": [token(t) for t in ("a", "b", "c", "abc")],
        },
    }
    neighbours = [request(f"{i}", [7 + i], temperature=1.0, seed=i) for i in range(3)]
    expected = endings(run(make_engine(babbler, decoding=decoding), neighbours))
    doomed = [request(name, [5], **fields) for name, fields in bans.items()]
    done = run(make_engine(babbler, decoding=decoding), [*doomed, *neighbours])
    failed = {name: done.pop(name) for name in bans}
    assert all(answer.finish_reason == "error" and "no token" in (answer.error or "") for answer in failed.values())
    assert text_of(failed["later"].token_ids) == "abc"
    assert endings(done) == expected


@pytest.mark.parametrize("decoding", ["ar", "tidar"])
@pytest.mark.parametrize(
    ("source", "fields", "text", "reason"),
    [
        ("", {}, "", "stop"),
        ("", {"min_tokens": 3}, "", "stop"),
        ("", {"ignore_eos": True}, "", "stop"),
        ("abc=", {"min_tokens": 9}, "abc=", "stop"),
        ("abc=", {"ignore_eos": True}, "abc=", "stop"),
        ("=;=;(ab)?", {"allowed_token_ids": [token("="), token(";"), EOS]}, "=;=;", "stop"),
        ("=;=;=;=;", {"max_tokens": 5}, "=;=;=", "length"),
        ("=;=;=;=;", {"max_tokens": 8}, "=;=;=;=;", "stop"),
        ("=;=;=;=;", {"stop_token_ids": [token(";")]}, "=;", "stop"),
    ],
)
def test_a_finished_grammar_ends_the_sequence(
    babbler: Path, decoding: str, source: str, fields: dict[str, Any], text: str, reason: str
) -> None:
    asked = request("x", [5], grammar=Grammar("regex", source), **fields)
    answer = run(make_engine(babbler, decoding=decoding), [asked])["x"]
    assert (text_of(answer.token_ids), answer.finish_reason, answer.error) == (text, reason, None)


def test_a_request_may_be_aborted_while_its_grammar_is_compiled(babbler: Path) -> None:
    engine = make_engine(babbler)
    engine.submit(request("gone", [5], grammar=GRAMMARS["json_schema"]))
    engine.abort(["gone"])
    assert [output.finish_reason for output in engine.step()] == ["abort"]
    assert text_of(run(engine, [request("gone", [5], grammar=Grammar("regex", "abc"))])["gone"].token_ids) == "abc"


def test_neighbours_go_on_while_a_grammar_is_compiled(babbler: Path) -> None:
    """A schema that takes long: the other request's tokens come before."""
    wide = '{"type":"object","properties":{' + ",".join(f'"p{i}":{{"type":"integer"}}' for i in range(4000)) + "}}"
    engine = make_engine(babbler)
    engine.submit(request("slow", [5], grammar=Grammar("json_schema", wide), max_tokens=2))
    engine.submit(request("quick", [6], max_tokens=20, ignore_eos=True))
    order = [output.request_id for _ in iter(lambda: engine.has_work, False) for output in engine.step()]
    assert order.index("slow") > len(order) - 3
    assert order.count("quick") > 3


def test_without_a_tokenizer_a_grammar_is_refused(random_qwen3: Path) -> None:
    with pytest.raises(RequestError, match="tokenizer"):
        GrammarCompiler(random_qwen3, VOCAB, [EOS]).compile(Grammar("json_object"))


def test_a_draft_that_meets_a_limit_harms_nothing(compiler: GrammarCompiler) -> None:
    """Whatever state the drafts left behind, the committed output can go on."""
    letters = matcher(compiler, GRAMMARS["letters"])
    letters.advance(token("a"))
    before = letters.allowed()
    letters.follow([token("b")])
    letters._state.consume_token(token("9"))
    assert letters._state.is_error()
    letters.take_back()
    assert (letters.allowed() == before).all()
    assert letters.failure is None


def test_drafts_end_where_even_a_new_draw_is_refused(compiler: GrammarCompiler) -> None:
    """Else a place whose bits allow what the matcher refuses would be drawn for ever."""
    drafts = BoundDrafts(matcher(compiler, Grammar("choice", '["abc"]')), 5, [token("a"), token("1"), token("c")])
    asked: list[int] = []

    def stubborn(rows: list[int], allowed: list[Bits]) -> list[int]:
        asked.extend(rows)
        return [token("1")] * len(rows)

    bind_drafts([drafts], stubborn)
    assert (drafts.drafts, asked) == ([token("a")], [6])
