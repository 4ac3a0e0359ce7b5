"""Compiles Triton's driver module into TRITON_CACHE_DIR, so that an image without a C compiler can launch kernels.

Triton compiles this one module with the system's compiler at its first launch and finds it by a hash of its source and
of TRITON_LIBCUDA_PATH, which therefore has to be the same when the image runs. The machine that builds the image has no
driver, so the module is linked against a library of the driver's name whose functions are empty; the real one is loaded
when it runs. With --check nothing is compiled beforehand: it fails where there is neither the module nor a compiler.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from triton.backends.nvidia import driver
from triton.runtime.build import compile_so_from_file

SOURCE = Path(driver.dirname) / "driver.c"


def driver_module() -> str:
    """The path of the module, compiled unless the cache has it. The arguments are those that Triton itself gives."""
    return compile_so_from_file(
        src_path=str(SOURCE),
        name="cuda_utils",
        library_dirs=driver.library_dirs(),
        include_dirs=driver.include_dirs,
        libraries=driver.libraries,
    )


def compiled_without_driver(library: Path) -> str:
    """The same where no driver is installed. `library` is where the NVIDIA runtime will put libcuda.so.1."""
    names = sorted(set(re.findall(r"\bcu[A-Z]\w+(?=\()", SOURCE.read_text())))
    with tempfile.NamedTemporaryFile("w", suffix=".c") as stub:
        stub.write("".join(f"void {name}(void) {{}}\n" for name in names))
        stub.flush()
        subprocess.run(["gcc", "-shared", f"-Wl,-soname,{library.name}", "-o", library, stub.name], check=True)
    try:
        return driver_module()
    finally:
        library.unlink()


if __name__ == "__main__":
    installed = Path(os.environ["TRITON_LIBCUDA_PATH"]) / "libcuda.so.1"
    print(driver_module() if "--check" in sys.argv or installed.exists() else compiled_without_driver(installed))
