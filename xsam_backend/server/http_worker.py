"""gunicorn's threaded worker, for clients that nobody vouches for.

gunicorn gives a connection to a thread at its first byte, and the thread waits for the rest as long as the client
likes: as many slow clients as there are threads, a byte from each, and nobody is answered any more. After a reply it
waits up to two seconds, in the loop that accepts everybody's connections, for the client to hang up. Here a thread
gets a request when all of it is there, and leaves a reply behind for the loop to send; the loop waits for everybody
at once, and for nobody without limit.
"""

from __future__ import annotations

import errno
import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

REQUEST_S = 60.0
"""From its first byte a request has so long to arrive; Label Studio sends 32 MB of tasks in less."""

REPLY_S = 60.0
"""So long a client may take to receive a reply."""

LEAVE_S = 2.0
"""After the reply that ends a connection: how long the client may take to hang up."""

UNFINISHED = 128
"""Most requests that are on their way at once, and most replies. The oldest gives way: it is the slowest."""

OTHER_CONNECTIONS = 4 * UNFINISHED
"""Open beside those that threads work on: with half a request or reply, kept alive, leaving."""

HEAD_BYTES = 64 * 1024
_RECEIVE_BYTES = 256 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)


class Connection(socket.socket):
    """A client's socket on which threads never wait: they read what was gathered, and leave what doesn't go out."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(fileno=accepted.detach())
        self.setblocking(False)
        self.gathered = bytearray()
        self.unsent = bytearray()
        self.told_to_go_on = False

    def setblocking(self, flag: bool) -> None:
        """It stays one that doesn't, whatever gunicorn wishes for its threads."""
        super().setblocking(False)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As gunicorn's parser asks.

        Raises:
            TimeoutError: nothing more was gathered: the request was refused for its head, or ``is_whole`` misread it.
                With a number by which gunicorn takes the client for gone.
        """
        if not self.gathered:
            raise TimeoutError(errno.ECONNRESET, "the rest of the request is not there")
        first = bytes(self.gathered[:size])
        del self.gathered[:size]
        return first

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send what goes out at once; the rest stays for the loop."""
        self.unsent += data
        self.send_on()

    def send_on(self) -> None:
        """Send more of the reply.

        Raises:
            OSError: the client is gone.
        """
        try:
            while self.unsent:
                with memoryview(self.unsent) as view:
                    sent = self.send(view[:_RECEIVE_BYTES])
                del self.unsent[:sent]
        except (BlockingIOError, InterruptedError):
            pass

    def gather(self) -> bool:
        """Take in what has come; False if the client is gone."""
        try:
            received = super().recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self.gathered += received
        return bool(received)


class Worker(ThreadWorker):  # type: ignore[misc]
    """One process, many threads. ``most_bytes`` is the largest request body that the application reads."""

    most_bytes = 32 * 2**20

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asking: deque[TConn] = deque()
        self._receiving: deque[TConn] = deque()
        self._leaving: deque[TConn] = deque()

    def enqueue_req(self, conn: TConn) -> None:
        """A connection is new, or something comes on a kept one: gather the request before a thread is taken."""
        if not isinstance(conn.sock, Connection):
            conn.sock = Connection(conn.sock)
            if self.nr_conns > self.worker_connections - UNFINISHED:  # who has nothing to say makes room
                self.murder_keepalived(force=True)
        if conn.parser is not None:
            conn.sock.gathered[:0] = conn.parser.unreader.take_buffered()
        conn.data_ready = True
        conn.sock.told_to_go_on = False
        self._wait(conn, self._asking, REQUEST_S, selectors.EVENT_READ, self._gather)
        self._gather(conn)
        self._make_room(self._asking, lambda: sum(len(one.sock.gathered) for one in self._asking))

    def _gather(self, conn: TConn) -> None:
        sock: Connection = conn.sock
        if not sock.gather():
            self._hang_up(conn, self._asking)
        elif is_whole(sock.gathered, self.most_bytes):
            self._wait_no_more(conn, self._asking)
            super().enqueue_req(conn)
        elif not sock.told_to_go_on and b"\r\n\r\n" in sock.gathered and _EXPECTS.search(sock.gathered[:HEAD_BYTES]):
            sock.told_to_go_on = True
            with suppress(OSError):  # if the client is gone, the next round sees it
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """A body that nobody read ends the connection, unless all of it is there: nobody waits for the rest."""
        if conn.parser.finish_body(max_bytes=HEAD_BYTES) if keepalive else False:
            return True
        conn.sock.gathered.clear()
        return False

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """A thread is done with a connection."""
        if fs.cancelled() or fs.exception() is not None or conn.sock.fileno() < 0 or not conn.sock.unsent:
            self._part(conn, fs)
            return

        def send_on(conn: TConn) -> None:
            try:
                conn.sock.send_on()
            except OSError:
                self._hang_up(conn, self._receiving)
                return
            if not conn.sock.unsent:
                self._wait_no_more(conn, self._receiving)
                self._part(conn, fs)

        self._wait(conn, self._receiving, REPLY_S, selectors.EVENT_WRITE, send_on)
        self._make_room(self._receiving, lambda: sum(len(one.sock.unsent) for one in self._receiving))

    def _part(self, conn: TConn, fs: Future[Any]) -> None:
        """The reply is out: keep the connection, or see it off."""
        if fs.cancelled() or fs.exception() is not None or (fs.result() and not conn.sock.gathered):
            super().finish_request(conn, fs)
            return
        if fs.result():  # the next request came along
            self.enqueue_req(conn)
            return
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # it's closed already
            self.nr_conns -= 1
            conn.close()
            return
        self._wait(conn, self._leaving, LEAVE_S, selectors.EVENT_READ, self._see_off)

    def _see_off(self, conn: TConn) -> None:
        """What still comes is thrown away: hanging up on it would cost the client our reply."""
        conn.sock.gathered.clear()
        if not conn.sock.gather():
            self._hang_up(conn, self._leaving)

    def _wait(
        self, conn: TConn, room: deque[TConn], limit_s: float, event: int, then: Callable[[TConn], None]
    ) -> None:
        conn.timeout = time.monotonic() + limit_s
        room.append(conn)
        self.poller.register(conn.sock, event, lambda _sock: then(conn))

    def _wait_no_more(self, conn: TConn, room: deque[TConn]) -> None:
        room.remove(conn)
        self.poller.unregister(conn.sock)

    def _hang_up(self, conn: TConn, room: deque[TConn]) -> None:
        self._wait_no_more(conn, room)
        self.nr_conns -= 1
        conn.close()

    def _make_room(self, room: deque[TConn], held_bytes: Callable[[], int]) -> None:
        while len(room) > UNFINISHED or (len(room) > 1 and held_bytes() > 2 * self.most_bytes):
            self._hang_up(room[0], room)

    def murder_pending(self) -> None:
        """gunicorn's round for those whose time is over, at least once a second."""
        now = time.monotonic()
        for room in (self._asking, self._receiving, self._leaving):
            while room and room[0].timeout <= now:
                self._hang_up(room[0], room)

    def _cap_keepalive(self, deadline: float) -> None:
        """A stop waits no longer for half a request than for a kept connection."""
        super()._cap_keepalive(deadline)
        for conn in self._asking:
            conn.timeout = min(conn.timeout, deadline)


def is_whole(gathered: bytes | bytearray, most_bytes: int) -> bool:
    """Whether a thread has no need to wait for more of a request: it is all there, or to be refused for its head.

    A chunked body counts as whole with its last chunk; one with trailers behind it, which nobody sends here, never.
    """
    end = gathered.find(b"\r\n\r\n", 0, HEAD_BYTES)
    if end < 0:
        return len(gathered) >= HEAD_BYTES
    head, body_bytes = gathered[: end + 2], len(gathered) - end - 4
    if body_bytes > most_bytes:
        return True
    if _CHUNKED.search(head):
        return gathered.endswith(b"0\r\n\r\n") and body_bytes > 0
    length = _LENGTH.search(head)
    return length is None or int(length[1]) > most_bytes or body_bytes >= int(length[1])
