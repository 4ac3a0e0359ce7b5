"""The other ranks as rank 0 sees them: start them, wait until they have loaded, give orders, notice a death."""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
import zmq

from engine.batch import Batch
from engine.child import python_environment
from engine.config import EngineConfig
from engine.errors import EngineError
from engine.parallel.orders import Forward, Leave, Loaded, Lost, Order, order_address, packed, report_address, unpacked

#: how often a follower that says nothing is looked at, in milliseconds
GLANCE_MILLISECONDS = 100
#: how long a follower may take to leave by itself, in seconds; less than the API process gives rank 0
LEAVE_SECONDS = 1.0

ENDED = "A process of the split model ended with exit code {}."

logger = logging.getLogger("tidar.engine")


class Followers:
    """Processes of ranks 1 and up, each with its part of the model and of the KV cache.

    `folder` is where they meet. A death is noticed by a thread and told at the next call.
    """

    def __init__(self, config: EngineConfig) -> None:
        """Start the processes; `config` is rank 0's, resolved."""
        self.folder = Path(tempfile.mkdtemp(prefix="tidar-ranks-"))
        self._context = zmq.Context()
        ranks = range(1, config.tensor_parallel_size)
        self._orders = [self._bind(zmq.PUSH, order_address(self.folder, rank)) for rank in ranks]
        self._reports = [self._bind(zmq.PULL, report_address(self.folder, rank)) for rank in ranks]
        self._processes = [self._start(rank, config) for rank in ranks]
        self._leaving = False
        self._lost: str | None = None
        #: what the followers that have loaded hold
        self.weight_bytes = 0

    def wait_until_loaded(self) -> None:
        """Raises EngineError with the sentence of a follower that cannot load."""
        for reports, process in zip(self._reports, self._processes, strict=True):
            while not reports.poll(GLANCE_MILLISECONDS):
                if process.poll() is not None and not reports.poll(0):
                    raise EngineError(ENDED.format(process.returncode))
            report = unpacked(reports.recv())
            if isinstance(report, Lost):
                raise EngineError(report.message)
            assert isinstance(report, Loaded)
            self.weight_bytes += report.weight_bytes
        for process in self._processes:
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def announce(self, batch: Batch) -> None:
        """Every follower runs the same forward; to be called before rank 0 begins it. Raises as `check` does."""
        self.check()
        self._send(Forward.of(batch))

    def check(self) -> None:
        """Raises EngineError where a follower has died: the others are of no use without it."""
        if self._lost is not None:
            raise EngineError(self._lost)

    def close(self) -> None:
        """End the processes, gently first. May be called again."""
        if self._leaving:
            return
        self._leaving = True
        self._send(Leave())
        for process in self._processes:
            try:
                process.wait(LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._context.destroy(linger=0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _send(self, order: Order) -> None:
        message = packed(order)
        for orders in self._orders:
            # a follower that is gone, or not there yet, takes none
            with contextlib.suppress(zmq.Again):
                orders.send(message, zmq.NOBLOCK)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if not self._leaving:
            self._lost = ENDED.format(code)
            logger.error(self._lost)

    def _bind(self, kind: int, address: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set_hwm(0)
        socket.bind(address)
        return socket

    def _start(self, rank: int, config: EngineConfig) -> subprocess.Popen[bytes]:
        settings = msgspec.json.encode(config).decode()
        command = [sys.executable, "-m", "engine.parallel.follower", str(self.folder), str(rank), settings]
        return subprocess.Popen(command, env=python_environment(), stdin=subprocess.DEVNULL)
