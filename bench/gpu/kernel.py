"""The attention kernel on its own: its error against float64, and the bytes it moves per second of its own time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.attention.base import AttentionBackend
from engine.attention.torch_sdpa import TorchAttention
from engine.attention.triton_window import TritonAttention
from engine.batch import Batch, lay_out
from engine.cache.storage import KVStorage
from engine.messages import Submit
from engine.params import SamplingParams
from engine.sequence import Sequence
from engine.window import Window, WindowShape
from models.config import ModelConfig

PAGE = 16
COPY_BYTES = 2**30
#: what ||out - reference|| / ||reference|| may be, by dtype
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


@dataclass(frozen=True)
class Heads:
    """A model as its attention sees it."""

    name: str
    query: int
    kv: int
    dim: int


QWEN25_1_5B = Heads("Qwen2.5-1.5B", 12, 2, 128)
QWEN3_8B = Heads("Qwen3-8B", 32, 8, 128)


@dataclass(frozen=True)
class Case:
    """`batch` windows of one shape, each behind `context` tokens, give or take a page."""

    heads: Heads
    label: str
    shape: WindowShape
    batch: int
    context: int
    dtype: torch.dtype = torch.bfloat16


@dataclass(frozen=True)
class Result:
    """Relative error against float64; median seconds of one layer, and the bytes that it cannot avoid to move."""

    case: Case
    error: float
    seconds: float
    bytes: int

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds

    @property
    def correct(self) -> bool:
        """False for NaN too."""
        return self.error <= TOLERANCES[self.case.dtype]


def standard_cases() -> Iterator[Case]:
    """AR tokens, TiDAR windows and a prompt chunk of both models, alone and in company, at 1k and 8k."""
    shapes = [("AR", WindowShape(1))]
    for k in (4, 8, 16):
        shapes.append((f"k={k} full", WindowShape(k, tuple(range(1, k + 1)), k)))
        shapes.append((f"k={k} 3 groups", WindowShape(k, (1, k // 2, k), k)))
    for heads in (QWEN25_1_5B, QWEN3_8B):
        for context in (1024, 8192):
            for label, shape in shapes:
                yield from (Case(heads, label, shape, batch, context) for batch in (1, 8))
        yield Case(heads, "prompt chunk", WindowShape(1024), 1, 2048)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes read and written per second by a large copy on the device."""
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / median_seconds(lambda: target.copy_(source))


def measure(case: Case, device: torch.device, seed: int = 0) -> Result:
    """Check, then time, one layer of the case on a CUDA device."""
    scene = _Scene(case, device, seed)
    error = scene.error()
    attention = TritonAttention(scene.storage).prepare(scene.batch)
    seconds = median_seconds(lambda: attention(0, scene.q, scene.k, scene.v))
    return Result(case, error, seconds, scene.least_bytes())


def error(case: Case, device: torch.device, seed: int = 0) -> float:
    """||out - reference|| / ||reference|| against float64 on the same device."""
    return _Scene(case, device, seed).error()


def table(results: list[Result], bandwidth: float) -> str:
    """One line per result, with the share of the device's copy bandwidth; `bandwidth` in bytes per second."""
    lines = [
        f"{'model':14} {'window':16} {'batch':>5} {'context':>7} {'error':>8} {'µs':>8} {'GB/s':>6} {'of copy':>7}"
    ]
    for result in results:
        case, speed = result.case, result.bytes_per_second
        lines.append(
            f"{case.heads.name:14} {case.label:16} {case.batch:5} {case.context:7} {result.error:8.1e}"
            f" {result.seconds * 1e6:8.1f} {speed / 1e9:6.0f} {speed / bandwidth:7.0%}"
            + ("" if result.correct else "  WRONG")
        )
    return "\n".join(lines)


def median_seconds(work: Callable[[], object]) -> float:
    """Of many runs with the L2 cache cleared before each."""
    from triton.testing import do_bench

    milliseconds: float = do_bench(work, warmup=50, rep=200, return_mode="median")
    return milliseconds / 1000


class _Scene:
    """The case's windows over shuffled pages; whatever they may not read is NaN."""

    def __init__(self, case: Case, device: torch.device, seed: int) -> None:
        self.case = case
        self._generator = torch.Generator(device).manual_seed(seed)
        heads, shape = case.heads, case.shape
        prefixes = [max(0, case.context - PAGE + 7 * index % (2 * PAGE)) for index in range(case.batch)]
        sizes = [-(-(prefix + shape.clean) // PAGE) for prefix in prefixes]
        self._device, self._pages = device, sum(sizes)
        self.storage = self._storage(case.dtype)
        self.storage.slots.fill_(float("nan"))
        free = iter((torch.randperm(self._pages, generator=self._generator, device=device) + 1).tolist())
        self.prefixes = prefixes
        windows = []
        for prefix, size in zip(prefixes, sizes, strict=True):
            windows.append(self._window(prefix, [next(free) for _ in range(size)]))
        self.batch: Batch = lay_out(windows, [[0] * shape.rows] * case.batch, self.storage, 2**31)
        # side by side in memory, as one projection gives them
        parts = [heads.query, heads.kv, heads.kv]
        self.q, self.k, self.v = self._normal(case.batch * shape.rows, sum(parts)).split(parts, 1)

    def error(self) -> float:
        reference = self._wide()
        expected = reference.prepare(self.batch)(0, self.q.double(), self.k.double(), self.v.double())
        out = TritonAttention(self.storage).prepare(self.batch)(0, self.q, self.k, self.v).double()
        pages = slice(PAGE, self.storage.scratch_start)
        stored, wanted = self.storage.slots[0, pages].double(), reference.storage.slots[0, pages]
        if not torch.equal(stored.nan_to_num(7.0), wanted.nan_to_num(7.0)):
            return float("nan")
        return float((out - expected).norm() / expected.norm())

    def least_bytes(self) -> int:
        """Prefixes, queries and new K/V read once; outputs and clean rows' K/V written once."""
        heads, shape = self.case.heads, self.case.shape
        token = 2 * heads.kv * heads.dim
        new = self.case.batch * (shape.rows + shape.clean) * token
        both = 2 * self.case.batch * shape.rows * heads.query * heads.dim
        return (sum(self.prefixes) * token + new + both) * self.case.dtype.itemsize

    def _wide(self) -> AttentionBackend:
        """The torch back end on a float64 copy of the cache."""
        wide = self._storage(torch.float64)
        wide.slots.copy_(self.storage.slots)
        # the padding that this back end reads
        wide.slots[:, :PAGE] = 0
        return TorchAttention(wide)

    def _storage(self, dtype: torch.dtype) -> KVStorage:
        heads = self.case.heads
        config = ModelConfig(
            architecture="Qwen3ForCausalLM",
            vocab_size=2,
            hidden_size=heads.query * heads.dim,
            intermediate_size=2,
            num_layers=1,
            num_heads=heads.query,
            num_kv_heads=heads.kv,
            head_dim=heads.dim,
            max_position_embeddings=2,
        )
        return KVStorage(config, self._pages, PAGE, self.case.batch * self.case.shape.rows, dtype, self._device)

    def _window(self, prefix: int, pages: list[int]) -> Window:
        sequence = Sequence(
            Submit(request_id="kernel", prompt_token_ids=[0], params=SamplingParams()), 0, 2**31, frozenset()
        )
        sequence.prefix_len, sequence.pages = prefix, pages
        positions = torch.arange(prefix)
        slots = (torch.tensor(pages)[positions // PAGE] * PAGE + positions % PAGE).to(self._device)
        self.storage.slots[0, slots] = self._normal(2 * prefix, self.case.heads.kv).unflatten(0, (prefix, 2))
        return Window(sequence, [0] * self.case.shape.clean, self.case.shape, range(0), decodes=True)

    def _normal(self, rows: int, heads: int) -> Tensor:
        shape = (rows, heads, self.case.heads.dim)
        drawn = torch.randn(shape, generator=self._generator, device=self._device)
        return drawn.to(self.case.dtype)
