"""Compiles the C kernels for every kind of processor into the installation, for an image without a compiler."""

from pathlib import Path

import models.native
from engine.attention.native_window import SOURCES
from models.native.library import prebuild

if __name__ == "__main__":
    for folder in (Path(models.native.__file__).parent, SOURCES):
        for made in prebuild(folder):
            print(made.name)
