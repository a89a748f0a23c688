"""Whose turn it is on the model: one at a time, people before batches, each in order of arrival.

A batch takes a turn per stage (one encoding, one answer), so a click waits for one stage of it at most.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from xsam_backend.errors import BusyError


class Priority(IntEnum):
    """Smaller goes first."""

    INTERACTIVE = 0
    BATCH = 1


class Turns:
    """A lock with a queue ordered by priority, then arrival."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrivals = itertools.count()
        self._queue: list[tuple[Priority, int]] = []
        self._taken = False

    @contextmanager
    def take(self, priority: Priority, wait_limit_s: float) -> Iterator[None]:
        """Wait for a turn and hold it for the length of the block.

        Raises:
            BusyError: it did not come within ``wait_limit_s``.
        """
        self._wait(priority, wait_limit_s)
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()

    def _wait(self, priority: Priority, wait_limit_s: float) -> None:
        deadline = time.monotonic() + wait_limit_s
        with self._changed:
            ticket = (priority, next(self._arrivals))
            heapq.heappush(self._queue, ticket)
            while self._taken or self._queue[0] != ticket:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    self._queue.remove(ticket)
                    heapq.heapify(self._queue)
                    self._changed.notify_all()
                    raise BusyError(
                        f"waited {wait_limit_s:.0f} s for the model, {len(self._queue)} others are waiting: "
                        "try again later, or run more service processes"
                    )
                self._changed.wait(left_s)
            heapq.heappop(self._queue)
            self._taken = True

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        with self._changed:
            return len(self._queue)
