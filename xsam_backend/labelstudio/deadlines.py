"""Time limits in total, and sockets that keep to them.

A time limit per read alone lets a server that drips one byte at a time, in headers too, hold a thread for hours.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any


class Deadline:
    """The end of the time that something has in total."""

    def __init__(self, total_s: float) -> None:
        self.total_s = total_s
        self._end = time.monotonic() + total_s

    @property
    def passed(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() >= self._end

    def at_most(self, limit_s: float) -> float:
        """``limit_s`` or what is left, whichever is less.

        Raises:
            TimeoutError: nothing is left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("total time used up")
        return min(limit_s, left)


class _TimedReads:
    """A socket whose every read waits no longer than ``wait_s()`` says at that moment."""

    wait_s: Callable[[], float] | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.wait_s is not None:
            self.settimeout(self.wait_s())  # type: ignore[attr-defined]
        return super().recv_into(*args, **kwargs)  # type: ignore[misc,no-any-return]


class TimedSocket(_TimedReads, socket.socket):
    """A plain one."""


class TimedTLSSocket(_TimedReads, ssl.SSLSocket):
    """To be set as an SSL context's ``sslsocket_class``."""
