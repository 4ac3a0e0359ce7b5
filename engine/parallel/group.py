"""The ranks of one engine as torch.distributed sees them: NCCL between GPUs, gloo between CPU processes."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from models.share import Share

#: a sum that takes longer has lost a rank
PATIENCE = timedelta(seconds=120)
#: gloo looks for the host's name otherwise, which need not resolve; all ranks are on this machine
INTERFACE, LOOPBACK = "GLOO_SOCKET_IFNAME", "lo"


class Group:
    """Sums and comparisons over all ranks; every rank has to take part in each, in the same order."""

    def __init__(self, share: Share, folder: Path, device: torch.device) -> None:
        """Waits until all ranks are there. They meet in `folder`."""
        if (Path("/sys/class/net") / LOOPBACK).exists():
            os.environ.setdefault(INTERFACE, LOOPBACK)
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            init_method=f"file://{folder}/meeting",
            rank=share.rank,
            world_size=share.size,
            timeout=PATIENCE,
        )

    def add(self, x: Tensor) -> Tensor:
        """x of all ranks added up, in x's own memory."""
        dist.all_reduce(x)
        return x

    def least(self, count: int) -> int:
        """The smallest of the ranks' numbers."""
        numbers = torch.tensor([count])
        dist.all_reduce(numbers, dist.ReduceOp.MIN)
        return int(numbers)

    def close(self) -> None:
        dist.destroy_process_group()
