"""A process that runs its part of every forward: `python -m engine.parallel.follower FOLDER RANK CONFIG`."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec
import torch
import zmq

from engine.config import EngineConfig
from engine.errors import sentence
from engine.logs import configure_logging
from engine.parallel.orders import Forward, Leave, Loaded, Lost, order_address, packed, report_address, unpacked
from engine.rank import Rank, load_rank
from models.share import Share

#: how often a follower looks whether rank 0 still lives, in seconds
GLANCE_SECONDS = 0.5

logger = logging.getLogger("tidar.engine")


def follow(folder: Path, share: Share, config: EngineConfig) -> int:
    """Load this rank's part, meet the others, and do as rank 0 says until it has no more work."""
    context = zmq.Context()
    orders, reports = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    orders.set_hwm(0)
    orders.connect(order_address(folder, share.rank))
    reports.connect(report_address(folder, share.rank))
    try:
        loaded = load_rank(config, share)
    except Exception as error:
        reports.send(packed(Lost(sentence(error))))
        reports.close(linger=1000)
        return 1
    reports.send(packed(Loaded(loaded.weight_bytes)))
    _obey(loaded.join(folder), orders)
    return 0


@torch.inference_mode()
def _obey(rank: Rank, orders: zmq.Socket[bytes]) -> None:
    while not isinstance(order := unpacked(orders.recv()), Leave):
        assert isinstance(order, Forward)
        batch = order.batch(rank.device)
        rank.model(batch.token_ids, batch.positions, rank.attention.prepare(batch))


def _leave_with(parent: int, folder: str) -> None:
    """End this process, wherever it hangs, once its parent is gone and can no longer remove the folder."""
    while os.getppid() == parent:
        time.sleep(GLANCE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Entry of the child process."""
    # Ctrl-C reaches the whole process group; when to stop is rank 0's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder, rank, settings = arguments
    threading.Thread(target=_leave_with, args=(os.getppid(), folder), daemon=True).start()
    config = msgspec.json.decode(settings, type=EngineConfig)
    configure_logging(config.log_format)
    try:
        return follow(Path(folder), Share(int(rank), config.tensor_parallel_size), config)
    except RuntimeError as error:
        # what torch says when another rank is gone; rank 0's parent starts them all anew
        logger.error("Rank %s of the split model ends: %s", rank, error)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
