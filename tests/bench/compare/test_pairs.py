"""What `--with` says."""

from __future__ import annotations

import pytest

from bench.compare.pairs import Pair


def test_a_decoding_alone_is_its_own_name() -> None:
    assert Pair.parse("tidar") == Pair("tidar", "tidar")


def test_a_pair_may_have_a_name_a_model_and_settings_of_the_engine() -> None:
    pair = Pair.parse("no groups=tidar@some/folder,predrafts=none,draft-length=8,enforce_eager=true")
    assert pair.name == "no groups" and pair.model == "some/folder"
    assert pair.fields == {"predrafts": "none", "draft_length": 8, "enforce_eager": True}


def test_settings_do_not_make_the_name_when_it_is_not_given() -> None:
    assert Pair.parse("tidar,predrafts=none").name == "tidar,predrafts=none"


@pytest.mark.parametrize("text", ["", "=ar", "ar,", "ar,colour=red", "ar,model=x", "ar,predrafts"])
def test_what_is_not_understood_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="--with"):
        Pair.parse(text)
