"""torch, the GPU's driver, and whether the two know each other."""

from __future__ import annotations

import re
from pathlib import Path

from server.doctor.base import Finding, Plan, fail, ok, warn
from server.doctor.packages import requirements, version_of

DRIVER_FILE = Path("/proc/driver/nvidia/version")
#: the driver that each CUDA release needs at least, for its major version (NVIDIA's CUDA release notes)
LEAST_DRIVER = {11: 450, 12: 525, 13: 580}
#: what the Triton kernels need
LEAST_CAPABILITY = (8, 0)


def check_gpu(plan: Plan) -> list[Finding]:
    """torch's version and build, the driver beside it, and every device that `--device` may mean."""
    version = version_of("torch")
    if version is None:
        return [fail("torch", "it is not installed", "Run pip install tidar-serve, which brings it.")]
    import torch

    wanted = next((each.specifier for each in requirements() if each.name == "torch"), None)
    if wanted is not None and not wanted.contains(torch.__version__, prereleases=True):
        return [fail("torch", f"{torch.__version__}, but {wanted} is needed", f"Run pip install -U 'torch{wanted}'.")]
    build = "for CPUs" if torch.version.cuda is None else f"for CUDA {torch.version.cuda}"
    findings = [
        ok("torch", f"{torch.__version__}, built {build}"),
        driver_finding(torch.version.cuda, driver_version()),
    ]
    return [*findings, *_devices(plan, torch.cuda.is_available())]


def driver_version(file: Path = DRIVER_FILE) -> str | None:
    """The loaded NVIDIA driver's version, as the kernel tells it; None without one."""
    try:
        found = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d+[\d.]*)", file.read_text())
    except OSError:
        return None
    return found[1] if found else None


def driver_finding(cuda: str | None, driver: str | None) -> Finding:
    """Whether a driver is there, and new enough for torch's CUDA release."""
    if driver is None and cuda is None:
        return ok("driver", "none, and torch needs none")
    if driver is None:
        return warn("driver", "no NVIDIA driver is loaded", "Install one to use a GPU; without it a CPU serves.")
    if cuda is None:
        advice = "Install torch built for CUDA (its website names the index to install from) to use the GPU."
        return warn("driver", f"NVIDIA {driver}, but torch is built for CPUs", advice)
    least = LEAST_DRIVER.get(int(cuda.partition(".")[0]), 0)
    if int(driver.partition(".")[0]) < least:
        advice = f"Update the driver to {least} or later, or install torch built for an older CUDA."
        return fail("driver", f"NVIDIA {driver} is too old for CUDA {cuda}", advice)
    return ok("driver", f"NVIDIA {driver}")


def _devices(plan: Plan, available: bool) -> list[Finding]:
    import torch

    if plan.device.startswith("cuda") and not available:
        return [fail("device", "torch finds no CUDA device", "Use --device cpu, or see the lines above.")]
    if not available or plan.device == "cpu":
        return [ok("device", "cpu")]
    findings = []
    for index in range(torch.cuda.device_count()):
        name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
        found = f"cuda:{index} {name}, compute capability {capability[0]}.{capability[1]}"
        if capability < LEAST_CAPABILITY:
            advice = "It serves with --attention-backend torch; the Triton kernels need 8.0 or later."
            findings.append(warn("device", found, advice))
        else:
            findings.append(ok("device", found))
    return findings
