"""The header of a GGUF file: metadata and where its tensors lie, every count and length checked before it is used.

Layout after the format's own description (github.com/ggml-org/ggml, docs/gguf.md): magic, version, two counts,
key-value pairs, tensor descriptions, padding, data; little-endian. The gguf package has a reader too, which allocates
what a file asks for and takes seconds for a vocabulary, so only its dequantisation is used.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.gguf.kinds import KINDS, Kind

MAGIC = b"GGUF"
VERSIONS = (2, 3)
#: far beyond any real file, and small enough to be held
MOST_PAIRS, MOST_TENSORS, MOST_ELEMENTS, LONGEST_TEXT = 2**16, 2**16, 2**22, 2**24
MOST_DIMENSIONS = 4

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9

END_IDS = ("eos_token_id", "eot_token_id", "eom_token_id")


@dataclass(frozen=True)
class TensorInfo:
    """`shape` has the rows first, as in a checkpoint; `kind` is None for a format that is not read.

    The bytes from `start` on, `size` of them, are known to lie in the file.
    """

    shape: tuple[int, ...]
    kind: Kind | None
    kind_number: int
    start: int
    size: int


@dataclass(frozen=True)
class Header:
    metadata: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, TensorInfo] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """Raises ModelError, one sentence, where the file is none that can be read."""
    try:
        stat = path.stat()
        return _read_once(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}).") from None


def end_ids(metadata: dict[str, Any]) -> list[int]:
    """Ids that end a text or a turn."""
    given = [metadata.get(f"tokenizer.ggml.{name}") for name in END_IDS]
    return list(dict.fromkeys(token for token in given if isinstance(token, int)))


@lru_cache(maxsize=1)
def _read_once(path: Path, changed: int, size: int) -> Header:
    """Config, tokenizer and weights are all read from the same header; `changed` keeps apart what a path held when."""
    if size < 24:
        raise ModelError(f"{path} is no GGUF file: it has {size} bytes.")
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _Cursor(data).header()
        except _BadFileError as error:
            raise ModelError(f"{path} is not a readable GGUF file: {error}.") from None


class _BadFileError(Exception):
    """What is wrong, as the end of a sentence."""


class _Cursor:
    """Reads forward through the mapped file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def header(self) -> Header:
        if self._take(4) != MAGIC:
            raise _BadFileError("it does not begin with GGUF")
        version = self._number("I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            what = "it is big-endian" if swapped in VERSIONS else f"its version is {version}, and 2 and 3 are read"
            raise _BadFileError(what)
        tensors, pairs = self._number("Q"), self._number("Q")
        if tensors > MOST_TENSORS or pairs > MOST_PAIRS:
            raise _BadFileError(f"it claims {tensors} tensors and {pairs} metadata entries")
        metadata = self._metadata(pairs)
        return Header(metadata, self._tensors(tensors, metadata))

    def _metadata(self, pairs: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._text()
            if key in metadata:
                raise _BadFileError(f"it has two entries {key!r}")
            metadata[key] = self._value(key, self._number("I"))
        return metadata

    def _value(self, key: str, kind: int) -> Any:
        if kind in SCALARS:
            return self._number(SCALARS[kind])
        if kind == TEXT:
            return self._text()
        if kind == ARRAY:
            return self._array(key)
        raise _BadFileError(f"its entry {key!r} is of unknown type {kind}")

    def _array(self, key: str) -> list[Any]:
        kind, length = self._number("I"), self._number("Q")
        if length > MOST_ELEMENTS:
            raise _BadFileError(f"its entry {key!r} claims {length} elements")
        if kind == TEXT:
            return [self._text() for _ in range(length)]
        if kind not in SCALARS:
            raise _BadFileError(f"its entry {key!r} is an array of unknown type {kind}")
        layout = struct.Struct(f"<{length}{SCALARS[kind]}")
        return list(layout.unpack(self._take(layout.size)))

    def _tensors(self, count: int, metadata: dict[str, Any]) -> dict[str, TensorInfo]:
        described = [self._tensor() for _ in range(count)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 2**16 or alignment & (alignment - 1):
            raise _BadFileError(f"its alignment is {alignment!r}")
        data = -(-self._at // alignment) * alignment
        tensors: dict[str, TensorInfo] = {}
        for name, shape, number, offset in described:
            if name in tensors:
                raise _BadFileError(f"it has two tensors {name!r}")
            if offset % alignment:
                raise _BadFileError(f"its tensor {name!r} is not aligned")
            tensors[name] = self._placed(name, shape, number, data + offset)
        return tensors

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = self._text(), self._number("I")
        if not 0 < dimensions <= MOST_DIMENSIONS:
            raise _BadFileError(f"its tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        return name, shape, self._number("I"), self._number("Q")

    def _placed(self, name: str, shape: tuple[int, ...], number: int, start: int) -> TensorInfo:
        kind = KINDS.get(number)
        if kind is None:
            return TensorInfo(shape, None, number, start, 0)
        if shape[-1] % kind.block:
            raise _BadFileError(f"its tensor {name!r} has rows of {shape[-1]} that are no whole {kind.name} blocks")
        size = prod(shape) // kind.block * kind.size
        if not size or start + size > len(self._data):
            raise _BadFileError(
                f"its tensor {name!r} of shape {list(shape)} would end at byte {start + size} of {len(self._data)}, "
                f"so the file may be truncated and should be fetched again"
            )
        return TensorInfo(shape, kind, number, start, size)

    def _number(self, code: str) -> Any:
        layout = struct.Struct(f"<{code}")
        return layout.unpack(self._take(layout.size))[0]

    def _text(self) -> str:
        length = self._number("Q")
        if length > LONGEST_TEXT:
            raise _BadFileError(f"it claims a text of {length} bytes")
        return self._take(length).decode("utf-8", "replace")

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise _BadFileError("it ends inside its header, so it may be truncated and should be fetched again")
        self._at += size
        return taken
