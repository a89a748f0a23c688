"""Numbers for pages and metrics that take a walk over a whole table, so not at every request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

SHARE = 0.01
"""Most of the time that is spent reading, however often somebody asks."""

FREE_S = 0.1
"""What takes no longer is read each time."""


class Recently(Generic[T]):
    """What was read last, read anew when it is a hundred times as old as reading it took: of a large table now and
    then, of a small one each time. Who asks while somebody reads gets the last as well. Safe to use from several
    threads."""

    def __init__(self, read: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._reading = threading.Lock()
        self._last: tuple[T] | None = None
        self._until = 0.0

    def __call__(self) -> T:
        """Raises what reading does, each time anew."""
        last = self._last
        if last is not None and self._clock() < self._until:
            return last[0]
        if not self._reading.acquire(blocking=last is None):
            assert last is not None
            return last[0]
        try:
            begun = self._clock()
            found = self._read()
            ended = self._clock()
            took_s = ended - begun
            self._last, self._until = (found,), ended + (took_s / SHARE if took_s > FREE_S else 0.0)
            return found
        finally:
            self._reading.release()
