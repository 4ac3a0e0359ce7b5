"""A GGUF file's tensors under the names of a checkpoint folder, dequantised piece by piece."""

from __future__ import annotations

import contextlib
import mmap
import re
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import ModelError
from models.gguf.header import Header, TensorInfo, read_header
from models.gguf.kinds import KINDS

if TYPE_CHECKING:
    from torch import Tensor

#: numbers that are dequantised at once, and pieces that may wait for their turn
PIECE, AHEAD = 2**20, 4

TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
LAYER_TENSOR = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")
QUERY_OR_KEY = re.compile(r".*\.self_attn\.[qk]_proj\.(weight|bias)")
ROPE_FACTORS = "rope_freqs.weight"


class GGUFWeights(AbstractContextManager["GGUFWeights"]):
    """The tensors of one GGUF file by their checkpoint names, memory-mapped; raises ModelError as `Shards` does."""

    def __init__(self, path: Path, head_dim: int) -> None:
        header = read_header(path)
        self._path = path
        #: GGUF keeps the two halves of a rotated head of this architecture side by side, pair by pair
        self._interleaved = head_dim if header.metadata.get("general.architecture") == "llama" else None
        self._infos = {_name(theirs): info for theirs, info in header.tensors.items() if theirs != ROPE_FACTORS}
        with path.open("rb") as opened:
            self._data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # where a view of it is still alive, the mapping goes with that
        with contextlib.suppress(BufferError):
            self._data.close()

    def names(self) -> set[str]:
        return set(self._infos)

    def shape(self, name: str) -> tuple[int, ...]:
        """As `Shards.shape`."""
        info = self._infos.get(name)
        if info is None:
            raise ModelError(f"{self._path} holds no tensor for {name}, which its metadata call for.")
        if info.kind is None:
            known = ", ".join(kind.name for kind in KINDS.values())
            raise ModelError(f"{self._path} keeps {name} in format {info.kind_number}; read are {known}.")
        return info.shape

    def pieces(self, name: str) -> Iterator[tuple[int, Tensor]]:
        """As `Shards.pieces`; blocks come as float32, several being dequantised at a time."""
        info = self._infos[name]
        rows, width = (info.shape[0], info.shape[-1]) if len(info.shape) > 1 else (1, info.shape[0])
        per_head = self._interleaved if QUERY_OR_KEY.fullmatch(name) else None
        step = max(PIECE // width, 1)
        if per_head:
            step = max(step // per_head, 1) * per_head
        size = info.size // rows
        with ThreadPoolExecutor(AHEAD) as pool:
            waiting: deque[tuple[int, Future[Tensor]]] = deque()
            for start in range(0, rows, step):
                count = min(step, rows - start)
                waiting.append((start, pool.submit(self._rows, info, start * size, count, width)))
                if len(waiting) > AHEAD:
                    yield _arranged(*waiting.popleft(), info, per_head)
            while waiting:
                yield _arranged(*waiting.popleft(), info, per_head)
        self._forget(info)

    def tensor(self, name: str) -> Tensor:
        """The whole tensor, blocks as float32."""
        import torch

        return torch.cat([rows for _, rows in self.pieces(name)])

    def _rows(self, info: TensorInfo, offset: int, count: int, width: int) -> Tensor:
        """`count` rows from byte `offset` of the tensor on, [count, width]."""
        import torch

        assert info.kind is not None
        size = count * width // info.kind.block * info.kind.size
        raw = np.frombuffer(self._data, np.uint8, size, info.start + offset).reshape(count, -1)
        if info.kind.is_plain:
            with warnings.catch_warnings():
                # torch has no read-only tensors; this one is only read
                warnings.simplefilter("ignore", UserWarning)
                dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
                return torch.from_numpy(raw).view(dtypes[info.kind.name])
        return torch.from_numpy(_dequantized(raw, info.kind.name))

    def _forget(self, info: TensorInfo) -> None:
        """Let the system drop the pages of a tensor that has been read, so that memory holds the model once."""
        start = info.start // mmap.PAGESIZE * mmap.PAGESIZE
        if hasattr(mmap, "MADV_DONTNEED"):
            self._data.madvise(mmap.MADV_DONTNEED, start, info.start + info.size - start)


def frequency_factors(path: Path, header: Header) -> list[float] | None:
    """Divisors of the rotary frequencies, where the file has its own. Raises ModelError where they are no numbers."""
    info = header.tensors.get(ROPE_FACTORS)
    if info is None:
        return None
    if info.kind is None or info.kind.name != "F32" or len(info.shape) != 1 or info.size > 4096:
        raise ModelError(f"{path} holds a {ROPE_FACTORS} that is no short row of F32.")
    with path.open("rb") as opened:
        opened.seek(info.start)
        factors = np.frombuffer(opened.read(info.size), "<f4")
    if not (np.isfinite(factors).all() and (factors > 0).all()):
        raise ModelError(f"{path} holds a {ROPE_FACTORS} with numbers that divide nothing.")
    return [float(factor) for factor in factors]


def _name(theirs: str) -> str:
    """The checkpoint's name of a tensor; one that is not known keeps its own and is refused by the loader's plan."""
    if theirs in TOP:
        return TOP[theirs]
    found = LAYER_TENSOR.fullmatch(theirs)
    if found is None or found[2] not in LAYER:
        return theirs
    return f"model.layers.{int(found[1])}.{LAYER[found[2]]}.{found[3]}"


def _dequantized(raw: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    with np.errstate(all="ignore"):  # a scale may be NaN or infinite; what comes of it is seen in the logits
        return np.asarray(dequantize(raw, GGMLQuantizationType[kind]), np.float32)


def _arranged(start: int, rows: Future[Tensor], info: TensorInfo, per_head: int | None) -> tuple[int, Tensor]:
    """A piece in the tensor's own shape, rotated heads with their halves apart."""
    piece = rows.result()
    if len(info.shape) == 1:
        piece = piece[0]
    if per_head is not None and piece.shape[0] % per_head == 0:
        heads = piece.unflatten(0, (-1, per_head // 2, 2))
        piece = heads.transpose(1, 2).flatten(0, 2)
    return start, piece
