"""What a step does that ran out of memory: the next one is smaller, and nobody's output suffers.

This is the plain loop's. In the loop that runs one ahead, and in a model split over processes, whose ranks would no
longer be in step, it ends the engine, and another is started.
"""

from __future__ import annotations

import logging

import torch

from engine.scheduler import Scheduler
from engine.window import Window

#: sound steps after which twice the rows are tried again
SOUND_STEPS = 200
MESSAGE = "The engine ran out of memory on this request; send a shorter one or ask for less."

logger = logging.getLogger("tidar.engine")


def ran_out(error: Exception) -> bool:
    """Whether this says that memory, the device's or the host's, is used up."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # torch's word for the host's memory; it has no class of its own
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


class Relief:
    """Halves the rows of a step when memory runs out, and lets them grow again."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._usual = scheduler.max_num_batched_tokens
        self._sound = 0

    def shrink(self, windows: list[Window]) -> None:
        """A step of these windows did not fit; the youngest sequences wait while others have none.

        One that is alone, and whose window cannot be made smaller, fails.
        """
        rows = [window.shape.rows for window in windows]
        scheduler = self._scheduler
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._sound = 0
        before = sum(rows)
        budget = max(1 if scheduler.strategy.divisible else max(rows), before // 2)
        if budget >= before:
            # one window is left, of one row or of as many as its scheme needs
            windows[-1].sequence.fail(MESSAGE)
            return
        scheduler.max_num_batched_tokens = budget
        while len(scheduler.running) > budget:
            scheduler.preempt_last()
        logger.warning("A step of %d rows ran out of memory; the next ones have at most %d.", before, budget)

    def restore(self) -> None:
        """Nobody fits into a step as small as this: better to try the usual size again than to wait for ever."""
        self._scheduler.max_num_batched_tokens = self._usual
        self._sound = 0

    def fitted(self) -> None:
        """A step went well."""
        if self._scheduler.max_num_batched_tokens == self._usual:
            return
        self._sound += 1
        if self._sound == SOUND_STEPS:
            self._sound = 0
            self._scheduler.max_num_batched_tokens = min(self._usual, 2 * self._scheduler.max_num_batched_tokens)
