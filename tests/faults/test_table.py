"""docs/operations.md shows what these tests assert."""

from __future__ import annotations

from tests.faults import rows
from tests.server.live import ROOT


def test_the_table_in_the_documentation_is_the_tests_own() -> None:
    assert rows.table() in (ROOT / "docs" / "operations.md").read_text()


def test_every_row_is_used_by_a_test() -> None:
    names = [name for name, value in vars(rows).items() if isinstance(value, rows.Row)]
    assert len(names) == len(rows.ROWS)
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "faults").glob("test_*.py"))
    assert [name for name in names if f"rows.{name}." not in tests] == []
