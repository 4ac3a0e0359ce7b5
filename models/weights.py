"""Where a checkpoint's tensors come from: safetensors in a folder or one GGUF file, read alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from torch import Tensor

from models.config import ModelConfig
from models.gguf.weights import GGUFWeights
from models.shards import Shards


class Weights(Protocol):
    """The tensors of one checkpoint by name, memory-mapped; raises ModelError where one is no use."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def names(self) -> set[str]: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """What the file declares; a tensor that is missing or of a format that is not read is a ModelError."""
        ...

    def pieces(self, name: str) -> Iterator[tuple[int, Tensor]]:
        """The tensor by runs of rows, with the number of the first; each is a float tensor to be used at once."""
        ...

    def tensor(self, name: str) -> Tensor:
        """The whole tensor, for small ones and comparisons."""
        ...


def open_weights(path: Path, config: ModelConfig) -> Weights:
    """The weights of folder or GGUF file `path`. Raises ModelError where they cannot be read."""
    return GGUFWeights(path, config.head_dim) if path.is_file() else Shards(path)
