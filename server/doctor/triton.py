"""Triton: needed on a GPU, where kernels are compiled when they are first used."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

from packaging.specifiers import SpecifierSet

from server.doctor.base import Finding, Plan, fail, ok, warn
from server.doctor.packages import version_of

WANTED = SpecifierSet(">=3.6")
INSTALL = "Run pip install 'tidar-serve[gpu]'."
COMPILE_SECONDS = 120
#: one real kernel, for the GPU that is there or, without one, an H100; in a process of its own, which Triton may crash
PROBE = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from models.kernels.swiglu import swiglu_kernel
types = {"gate_up": "*fp16", "out": "*fp16", "size": "constexpr", "block": "constexpr"}
source = ASTSource(swiglu_kernel, signature=types, constexprs={"size": 256, "block": 1024})
triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32))
"""
#: the module that launches kernels, from the cache where it has been compiled before
LAUNCHER_PROBE = "from triton.backends.nvidia import driver; driver.CudaUtils()"


def check_triton(plan: Plan) -> list[Finding]:
    """Whether it is there, fit, and can compile; on a CPU nothing of this is needed."""
    import torch

    gpu = torch.cuda.is_available() and plan.device != "cpu"
    if find_spec("triton") is None:
        if gpu:
            return [warn("triton", "it is not installed, so slower torch kernels serve", INSTALL)]
        return [ok("triton", "not installed, and not needed without a GPU")]
    version = version_of("triton") or "unknown"
    if version not in WANTED:
        found = f"{version}, but {WANTED} is needed"
        return [fail("triton", found, INSTALL)] if gpu else [warn("triton", found, INSTALL)]
    major, minor = torch.cuda.get_device_capability() if gpu else (9, 0)
    problem = compile_problem(10 * major + minor)
    if problem is not None:
        found = f"{version}, which cannot compile here ({problem})"
        advice = "Use --attention-backend torch until it can."
        return (
            [fail("triton", found, advice)] if gpu else [warn("triton", found, "A GPU would need it; a CPU does not.")]
        )
    problem = launcher_problem() if gpu else None
    if problem is not None:
        found = f"{version}, which has no launcher in its cache and cannot build one ({problem.rstrip('.')})"
        return [fail("triton", found, "Install gcc and Python's headers: Triton builds its launcher with them.")]
    return [ok("triton", f"{version}, compiles for sm_{10 * major + minor}")]


def compile_problem(capability: int) -> str | None:
    """Compile a kernel for sm_`capability`; what went wrong, or None."""
    return _problem(PROBE, str(capability))


def launcher_problem() -> str | None:
    """Load Triton's launcher from its cache, or have it compiled; what went wrong, or None."""
    return _problem(LAUNCHER_PROBE)


def _problem(probe: str, *arguments: str) -> str | None:
    from engine.child import python_environment

    command = [sys.executable, "-c", probe, *arguments]
    env = {**python_environment(), "TRITON_INTERPRET": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=COMPILE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"nothing after {COMPILE_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
