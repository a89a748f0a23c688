"""``requests`` with bounds for a whole answer: of time, headers included, and of bytes.

Its own time limit is one for each read of a socket. Here a deadline belongs to the thread that asks, and the sockets,
which threads hand on to one another, look at it before each read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from xsam_backend.labelstudio.deadlines import Deadline, TimedSocket, TimedTLSSocket
from xsam_backend.labelstudio.egress import tls_context

_CHUNK_BYTES = 64 * 1024
_asking = threading.local()


class TooLargeError(Exception):
    """An answer has more bytes than it may have."""


@contextmanager
def answers_within(wait_s: float, deadline: Deadline) -> Iterator[None]:
    """What this thread reads through a :class:`BoundedAdapter` waits so long for each read, and ends by then."""
    _asking.wait_s = lambda: deadline.at_most(wait_s)
    try:
        yield
    finally:
        del _asking.wait_s


def read_all(response: requests.Response, max_bytes: int) -> bytes:
    """The body of a streamed response, unpacked, counted while it arrives.

    Raises:
        TooLargeError: there is more.
        requests.RequestException: it breaks off or takes too long.
    """
    body = bytearray()
    for chunk in response.iter_content(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise TooLargeError
    return bytes(body)


class BoundedAdapter(HTTPAdapter):
    """Keeps to ``answers_within``, and trusts the certificates that the picture downloads trust."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As the class says; ``requests`` calls it."""
        context = tls_context()
        context.sslsocket_class = TimedTLSSocket
        super().init_poolmanager(*args, **kwargs, ssl_context=context)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


def _wait_s() -> float:
    return float(_asking.wait_s())


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        timed = TimedSocket(fileno=self.sock.detach())
        timed.settimeout(self.timeout if isinstance(self.timeout, (int, float)) else None)
        timed.wait_s = _wait_s
        self.sock = timed


class _TLSConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        assert isinstance(self.sock, TimedTLSSocket)
        self.sock.wait_s = _wait_s


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection
