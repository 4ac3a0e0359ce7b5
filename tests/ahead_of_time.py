"""Compiles Triton kernels for GPUs that need not be there, and reads what the assembler says of their registers."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

#: A100, H100, B200
CAPABILITIES = (80, 90, 100)

# the assembler's report is printed by the compilation itself, and a cached one has none
triton.knobs.nvidia.dump_ptxas_log = True
triton.knobs.compilation.always_compile = True


@dataclass(frozen=True)
class Launch:
    """A kernel with the types of its arguments: "*bf16" and the like, "i32", "i32:16" for multiples of 16, or a value
    that it is compiled for."""

    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    warps: int = 4
    stages: int = 3


@dataclass(frozen=True)
class Report:
    """What the assembler said: registers per thread, bytes spilt, bytes of stack; and shared memory per block."""

    registers: int
    spilled: int
    stack: int
    shared: int


def compiled(launch: Launch, capability: int) -> Report:
    """Compile down to machine code for sm_`capability`."""
    names = launch.kernel.arg_names
    types = {**launch.types, **dict.fromkeys(launch.constants, "constexpr")}
    aligned = [i for i, name in enumerate(names) if types[name][0] == "*" or types[name].endswith(":16")]
    said = io.StringIO()
    with redirect_stdout(said):
        kernel = triton.compile(
            ASTSource(
                launch.kernel,
                signature={name: types[name].removesuffix(":16") for name in names},
                constexprs=launch.constants,
                attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
            ),
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": launch.warps, "num_stages": launch.stages, "enable_fp_fusion": True},
        )
    return _read(said.getvalue(), kernel.metadata.shared)


def _read(said: str, shared: int) -> Report:
    usage = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said)
    stack, stores, loads = map(int, usage[-1])
    return Report(int(re.findall(r"Used (\d+) registers", said)[-1]), stores + loads, stack, shared)


def reports(module: str) -> dict[int, dict[str, Report]]:
    """By capability and name: what `module.launches(capability)` compiles to, in a process that has Triton compile."""
    command = [sys.executable, "-m", "tests.ahead_of_time", module]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "0"})
    assert done.returncode == 0, done.stderr
    made: dict[str, dict[str, dict[str, int]]] = json.loads(done.stdout.splitlines()[-1])
    return {int(key): {name: Report(**fields) for name, fields in value.items()} for key, value in made.items()}


def main(module: str) -> None:
    launches = importlib.import_module(module).launches
    made = {
        capability: {name: asdict(compiled(launch, capability)) for name, launch in launches(capability).items()}
        for capability in CAPABILITIES
    }
    print(json.dumps(made))


if __name__ == "__main__":
    main(sys.argv[1])
