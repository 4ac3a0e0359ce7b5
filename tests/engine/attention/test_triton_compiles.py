"""The attention kernels compile for GPUs that are not here, and on sm_90 keep everything in registers."""

from __future__ import annotations

import pytest

from tests.ahead_of_time import reports

LAUNCHES = "tests.engine.attention.launches"


@pytest.mark.slow
def test_on_sm_90_nothing_is_spilt() -> None:
    made = reports(LAUNCHES, 90)
    assert len(made) > 10
    assert {name: report for name, report in made.items() if report["spilled"] or report["stack"]} == {}
    assert all(report["shared"] <= 227 * 1024 for report in made.values())


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 100])
def test_older_and_newer_gpus_have_room(capability: int) -> None:
    made = reports(LAUNCHES, capability)
    assert made and all(0 < report["registers"] <= 255 for report in made.values())
    assert all(report["shared"] <= 163 * 1024 for report in made.values())
