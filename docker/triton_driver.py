"""Has Triton's driver module compiled into TRITON_CACHE_DIR, so that an image without a C compiler can launch kernels.

Triton compiles this one module with the system's compiler at its first launch and finds it by a hash of its source and
of TRITON_LIBCUDA_PATH, which therefore has to be the same when the image runs. No driver is installed where images are
built: `--stub FOLDER` makes a library of its name, whose functions are empty, to link and load the module with. Without
--stub, the module is compiled or found in the cache, and loaded.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

from triton.backends.nvidia import driver


def make_stub(folder: Path) -> None:
    """libcuda.so.1 with every function of the driver that the module calls."""
    calls = set(re.findall(r"\bcu[A-Z]\w+(?=\()", (Path(driver.__file__).parent / "driver.c").read_text()))
    with tempfile.NamedTemporaryFile("w", suffix=".c") as source:
        source.write("".join(f"void {name}(void) {{}}\n" for name in sorted(calls)))
        source.flush()
        library = folder / "libcuda.so.1"
        subprocess.run(["gcc", "-shared", f"-Wl,-soname,{library.name}", "-o", library, source.name], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stub", type=Path)
    given = parser.parse_args()
    if given.stub is not None:
        make_stub(given.stub)
    else:
        driver.CudaUtils()
        print("Triton can launch kernels.")
