"""All checks in the order in which one thing depends on another."""

from __future__ import annotations

from collections.abc import Iterator

from server.doctor.base import Check, Finding, Plan, fail
from server.doctor.cpu import check_cpu
from server.doctor.files import check_caches, check_descriptors
from server.doctor.gpu import check_gpu
from server.doctor.memory import check_memory
from server.doctor.native import check_native
from server.doctor.packages import check_packages
from server.doctor.port import check_port
from server.doctor.triton import check_triton

CHECKS: tuple[Check, ...] = (
    check_packages,
    check_gpu,
    check_triton,
    check_cpu,
    check_native,
    check_memory,
    check_caches,
    check_port,
    check_descriptors,
)


def examine(plan: Plan) -> Iterator[Finding]:
    """What every check finds, as it finds it. One that breaks says so and does not keep the others from speaking."""
    for check in CHECKS:
        try:
            yield from check(plan)
        except Exception as error:
            name = check.__name__.removeprefix("check_")
            yield fail(
                name, f"the check itself failed with {type(error).__name__}: {error}", "Mend the installation first."
            )
