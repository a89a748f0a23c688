"""When a request may go to a thread. What the worker does with slow clients: tests/e2e/test_slow_clients.py."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.server.http_worker import HEAD_BYTES, Connection, is_whole

MOST = 1000


@pytest.mark.parametrize(
    ("gathered", "whole", "reason"),
    [
        (b"", False, "nothing yet"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", False, "the head's end is missing"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True, "no body"),
        (b"nonsense\r\n\r\n", True, "to be refused"),
        (b"x" * HEAD_BYTES, True, "a head without end, to be refused"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", False, "a byte is missing"),
        (b"POST / HTTP/1.1\r\ncontent-LENGTH:3 \r\n\r\nabc", True, "case and blanks mean nothing"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET", True, "the next request has begun"),
        (b"POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n", True, "to be refused"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\na", True, "too much: to be refused"),
        (b"POST / HTTP/1.1\r\nX-Content-Length: 9\r\n\r\n", True, "another header"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", False, "the last chunk is missing"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True, "chunks"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"x" * 1001, True, "too much: to be refused"),
    ],
)
def test_a_request_is_whole(gathered: bytes, whole: bool, reason: str) -> None:
    assert is_whole(gathered, MOST) is whole, reason


@given(st.binary(max_size=300))
def test_any_bytes_have_an_answer(gathered: bytes) -> None:
    assert is_whole(gathered + b"\r\n\r\n", MOST) in (True, False)


def test_a_thread_never_waits_at_a_socket() -> None:
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours) as connection:
        connection.setblocking(True)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        theirs.sendall(b"abcdef")
        assert connection.gather()
        assert (connection.recv(4), connection.recv(4)) == (b"abcd", b"ef")
        connection.sendall(b"x" * 10_000_000)
        assert connection.unsent
        received = 0
        while received < 10_000_000:
            received += len(theirs.recv(1_000_000))
            connection.send_on()
        assert not connection.unsent
        theirs.close()
        assert not connection.gather()
