"""Reading a folder's safetensors files, one or many, without trusting anything they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.errors import ModelError

SINGLE = "model.safetensors"
ADAPTER = "adapter_model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
#: numbers in one piece
PIECE = 2**22
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class Shards(AbstractContextManager["Shards"]):
    """The tensors of one checkpoint folder by name, memory-mapped: a tensor is read when it is asked for.

    `single` is the file that holds all of them, where there is no index. Raises ModelError where there are no weights,
    or a file cannot be read.
    """

    def __init__(self, folder: Path, single: str = SINGLE) -> None:
        self._stack = ExitStack()
        self._files: dict[str, tuple[str, Any]] = {}
        try:
            for name in _file_names(folder, single):
                self._open(folder / name)
        except BaseException:
            self._stack.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.clear()
        self._stack.close()

    def names(self) -> set[str]:
        return set(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape the file's header declares for a float tensor; a tensor that is missing or no float is a ModelError."""
        if name not in self._files:
            raise ModelError(f"The weights hold no tensor {name}, which config.json calls for.")
        file, handle = self._files[name]
        header = handle.get_slice(name)
        if header.get_dtype() not in FLOATS:
            raise ModelError(
                f"Tensor {name} in {file} is {header.get_dtype()}; "
                f"only float weights ({', '.join(FLOATS)}) are supported."
            )
        return tuple(header.get_shape())

    def pieces(self, name: str) -> Iterator[tuple[int, Tensor]]:
        """The tensor by runs of rows, each with the number of its first; views of the mapped file."""
        tensor = self.tensor(name)
        rows = max(PIECE // max(tensor[:1].numel(), 1), 1)
        for start in range(0, len(tensor), rows):
            yield start, tensor[start : start + rows]

    def tensor(self, name: str) -> Tensor:
        """The tensor in its own dtype, a view of the mapped file."""
        file, handle = self._files[name]
        try:
            tensor: Tensor = handle.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"Tensor {name} in {file} cannot be read ({_reason(error)}).") from None
        return tensor

    def _open(self, path: Path) -> None:
        try:
            handle = self._stack.enter_context(safe_open(path, framework="pt", device="cpu"))
            names = list(handle.keys())
        except FileNotFoundError:
            raise ModelError(f"{path} is missing, though {INDEX} names it.") from None
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"{path} is not a readable safetensors file ({_reason(error)}): it may be truncated, so fetch it again."
            ) from None
        for name in names:
            if name in self._files:
                raise ModelError(f"Tensor {name} is in both {self._files[name][0]} and {path.name}.")
            self._files[name] = (path.name, handle)


def _file_names(folder: Path, single: str) -> list[str]:
    if (folder / single).exists():
        return [single]
    if single == SINGLE and (folder / INDEX).exists():
        return _indexed(folder / INDEX)
    if not folder.is_dir():
        raise ModelError(f"There is no folder {folder}.")
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise ModelError(
            f"{folder} holds weights only as {pickles[0]}: convert them to safetensors, as pickles are not executed."
        )
    wanted = f"neither {SINGLE} nor {INDEX} is" if single == SINGLE else f"{single} is not"
    raise ModelError(f"{folder} holds no weights: {wanted} there.")


def _indexed(path: Path) -> list[str]:
    try:
        index = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({_reason(error)}).") from None
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict) or not files:
        raise ModelError(f"{path} must hold a weight_map from tensor names to safetensors files.")
    for tensor, file in files.items():
        # a name that is a path would let a checkpoint read files outside its folder
        if not isinstance(file, str) or "/" in file or "\\" in file or not file.endswith(".safetensors"):
            raise ModelError(f"{path} places {tensor} in {file!r}, which is not a safetensors file name in its folder.")
    return sorted(set(files.values()))


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip(".").replace("\n", " ") or type(error).__name__
