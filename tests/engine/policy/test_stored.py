"""Step costs on disk: used where they still hold, measured anew where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.policy.base import Load
from engine.policy.cost import StepCost
from engine.policy.stored import CostStore

ONE = Load(1)


class Machine:
    """A machine whose one-row step takes `seconds`, and that counts how often it was measured."""

    def __init__(self, seconds: float = 0.002) -> None:
        self.seconds = seconds
        self.measured = 0

    def one_row(self) -> float:
        return self.seconds

    def measure(self) -> StepCost:
        self.measured += 1
        return StepCost([1, 8], [self.seconds, 2 * self.seconds], 0.0001, 0.0, 1e-7)


def ask(store: CostStore, machine: Machine) -> StepCost:
    return store.load_or_measure(machine.one_row, machine.measure)


def test_a_second_start_uses_what_the_first_measured(tmp_path: Path) -> None:
    machine = Machine()
    first = ask(CostStore(tmp_path / "new", {"model": "a"}), machine)
    second = ask(CostStore(tmp_path / "new", {"model": "a"}), machine)
    assert machine.measured == 1
    assert [second(rows, ONE) for rows in (1, 3, 20)] == [first(rows, ONE) for rows in (1, 3, 20)]


def test_another_model_device_or_dtype_is_measured_for_itself(tmp_path: Path) -> None:
    machine = Machine()
    ask(CostStore(tmp_path, {"model": "a", "dtype": "float32"}), machine)
    ask(CostStore(tmp_path, {"model": "a", "dtype": "bfloat16"}), machine)
    assert machine.measured == 2


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_machine_that_changed_its_speed_is_measured_again(tmp_path: Path, factor: float) -> None:
    store = CostStore(tmp_path, {})
    ask(store, Machine(0.002))
    changed = Machine(0.002 * factor)
    assert ask(store, changed)(1, ONE) == pytest.approx(changed.seconds)
    again = Machine(0.002 * factor)
    ask(store, again)
    assert changed.measured == 1 and again.measured == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b'{"rows": [1, 8]}',
        b'{"rows": [1], "seconds": [0.1], "per_sequence": 0, "per_key": 0, "per_score": 0}',
        b'{"rows": [1, 8], "seconds": [0.1, -1], "per_sequence": 0, "per_key": 0, "per_score": 0}',
        b'{"rows": [8, 1], "seconds": [0.1, 0.2], "per_sequence": 0, "per_key": 0, "per_score": 0}',
    ],
)
def test_a_damaged_file_is_measured_over(tmp_path: Path, content: bytes) -> None:
    store, machine = CostStore(tmp_path, {}), Machine(0.1)
    store.path.write_bytes(content)
    ask(store, machine)
    ask(store, machine)
    assert machine.measured == 1


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    machine = Machine()
    ask(CostStore(tmp_path / "file", {}), machine)
    assert machine.measured == 1
