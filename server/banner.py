"""What is being served, for the person who started it."""

from __future__ import annotations

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table

from engine.config import EngineConfig
from engine.messages import Ready
from server.settings import ServerSettings


def banner(
    settings: ServerSettings, config: EngineConfig, ready: Ready, address: str, seconds: float
) -> RenderableType:
    """A panel with the model, how it is decoded, what it runs on, and where it listens."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in _rows(settings, config, ready, address):
        table.add_row(name, value)
    return Panel(table, title=f"TiDAR Serve is ready after {seconds:.1f} s", title_align="left", expand=False)


def _rows(settings: ServerSettings, config: EngineConfig, ready: Ready, address: str) -> list[tuple[str, str]]:
    drafting = f", k = {ready.draft_length}, pre-drafts {ready.predrafts}" if ready.decoding != "ar" else ""
    pages = f"{ready.num_pages} pages of {ready.page_size} tokens, {_size(ready.kv_cache_bytes)} in {ready.cache_dtype}"
    return [
        ("model", f"{settings.model_names[0]}, {_size(ready.weight_bytes)}"),
        ("folder", config.model),
        ("decoding", f"{ready.decoding}{drafting}"),
        *(
            [("accepts", "at random, for measuring: NOT the model's output")]
            if config.synthetic_acceptance is not None
            else []
        ),
        ("runs on", f"{ready.device}, {ready.dtype}, {_kernels(ready)}{_processes(config)}"),
        ("context", f"{ready.max_model_len} tokens"),
        ("KV cache", pages),
        *_memory(ready),
        ("API keys", f"{len(settings.api_keys)}" if settings.api_keys else "none: open to whoever can connect"),
        ("listens at", address),
    ]


def _kernels(ready: Ready) -> str:
    """Who computes what torch could as well, only slower."""
    return {"native": "C kernels", "triton": "Triton kernels"}.get(ready.kernels, "torch alone")


def _processes(config: EngineConfig) -> str:
    """How many engines there are, and over how many processes each is split, where that is more than one."""
    split = f", split over {config.tensor_parallel_size} processes" if config.tensor_parallel_size > 1 else ""
    count = config.data_parallel_size
    return f"{split}; {count} engines, of which one is shown" if count > 1 else split


def _memory(ready: Ready) -> list[tuple[str, str]]:
    """What went where on a GPU; what a forward needs is an estimate."""
    if not ready.device.startswith("cuda"):
        return []
    parts = {
        "weights": ready.weight_bytes,
        "KV pages": ready.kv_cache_bytes,
        "CUDA graphs": ready.graph_bytes,
        "forwards, kept free": ready.forward_bytes,
    }
    return [("memory", ", ".join(f"{_size(size)} {name}" for name, size in parts.items() if size))]


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
