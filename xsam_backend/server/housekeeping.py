"""Small work that no request waits for: encoded pictures for the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

from xsam_backend.server.monitor import Monitor


class Housekeeping:
    """A few threads and a short queue. Work that doesn't fit is dropped, and who asked is told so."""

    def __init__(self, monitor: Monitor, queue_limit: int = 100) -> None:
        self._monitor = monitor
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="housekeeping")
        self._room = threading.BoundedSemaphore(queue_limit)
        self._closing = threading.Event()

    def later(self, what: str, work: Callable[[], object]) -> bool:
        """Run ``work`` soon; False if there is no room for it. Its errors go to the monitor, under ``what``."""
        if self._closing.is_set() or not self._room.acquire(blocking=False):
            return False
        try:
            self._pool.submit(copy_context().run, self._run, what, work).add_done_callback(self._done)
        except RuntimeError:  # closed in the meantime
            self._room.release()
            return False
        return True

    def _run(self, what: str, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            self._monitor.problem(error, what)

    def _done(self, _: Future[None]) -> None:
        self._room.release()

    def drain(self) -> None:
        """Wait until everything asked so far is done, then take no more."""
        self._pool.shutdown(wait=True)

    def close(self) -> None:
        """Finish what runs, drop the rest."""
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)
