"""What a benchmark's report says of the machine it ran on."""

from __future__ import annotations

import json
from pathlib import Path

from bench.run import BenchOptions, published

DOCS = Path(__file__).parents[2] / "docs"


def test_a_report_holds_names_and_no_paths_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    options = BenchOptions(
        model=str(tmp_path / "mine"), prompts=str(tmp_path / "mine.jsonl"), json=str(tmp_path / "out.json")
    )
    said = published(options)
    assert (said["model"], said["prompts"], said["json"]) == ("mine", "mine.jsonl", "out.json")
    assert str(tmp_path) not in json.dumps(said)
    assert published(BenchOptions(model="org/model"))["model"] == "org/model"


def test_the_reports_of_the_documentation_hold_none_either() -> None:
    for file in DOCS.glob("bench*.json"):
        settings = json.loads(file.read_text()).get("settings", {})
        assert not [value for value in settings.values() if str(value).startswith("/")], file.name
