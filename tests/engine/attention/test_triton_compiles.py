"""The attention kernels compile for GPUs that are not here, and on sm_90 keep everything in registers."""

from __future__ import annotations

import pytest

from tests.ahead_of_time import CAPABILITIES, Report, reports

#: shared memory that a block may have
SHARED = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}


@pytest.fixture(scope="module")
def made() -> dict[int, dict[str, Report]]:
    return reports("tests.engine.attention.launches")


@pytest.mark.slow
def test_on_sm_90_nothing_is_spilt(made: dict[int, dict[str, Report]]) -> None:
    assert len(made[90]) > 10
    assert {name: report for name, report in made[90].items() if report.spilled or report.stack} == {}


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_gpu_has_room(made: dict[int, dict[str, Report]], capability: int) -> None:
    assert len(made[capability]) >= 4
    assert all(0 < report.registers <= 255 for report in made[capability].values())
    assert all(report.shared <= SHARED[capability] for report in made[capability].values())
