"""Threads that work beside the requests, round after round, for as long as the service runs."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from xsam_backend.errors import XSamBackendError
from xsam_backend.server.monitor import Monitor


class Rounds(ABC):
    """Goes a round when woken, and every few seconds without being, until it is closed. Errors go to the monitor: the
    threads must live on, since nobody would start them again.

    Args:
        name: of the threads, and of the place where errors happened.
        every_s: None: only when woken.
        threads: so many go rounds beside one another.
        patience_s: so long a close waits for the rounds under way.
    """

    def __init__(
        self, name: str, monitor: Monitor, every_s: float | None, *, threads: int = 1, patience_s: float = 30.0
    ) -> None:
        self._name, self._monitor, self._every_s, self._patience_s = name, monitor, every_s, patience_s
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name} {number}", daemon=True) for number in range(threads)
        ]

    @abstractmethod
    def _round(self) -> None:
        """Whatever there is to do now. Long ones end early once ``_closing`` is set."""

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    @property
    def is_running(self) -> bool:
        """Whether all threads still work."""
        return all(thread.is_alive() for thread in self._threads)

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def close(self) -> None:
        """Finish what is under way and end."""
        self._closing.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=self._patience_s)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            self._guarded(self._name, self._round)
            if not self._closing.is_set():
                self._wake.wait(self._every_s)

    def _guarded(self, where: str, step: Callable[[], None]) -> None:
        try:
            step()
        except XSamBackendError as error:
            self._monitor.note(type(error).__name__, where, str(error))  # again every few seconds: one line
        except Exception as error:
            self._monitor.problem(error, where)
