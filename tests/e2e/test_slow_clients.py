"""Clients that hold connections and say little: more of them than threads, and others are answered all the same.

Each attack opens its connections, keeps them open, and drips what it has to send for longer than anybody waits;
meanwhile health and webhooks are answered.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import requests
from backend_process import BackendProcess

from xsam_backend.server.http_worker import OTHER_CONNECTIONS, UNFINISHED

pytestmark = pytest.mark.e2e

THREADS = 6
CONNECTIONS = 4 * THREADS

PATIENCE_S = 15.0
"""Far below what an attack would hold a thread for, far above what a busy machine takes to answer."""

HEAD = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    folder = tmp_path_factory.mktemp("slow")
    with BackendProcess(folder / "data", settings={"threads": str(THREADS), "max_request_mb": "1"}) as running:
        yield running


def connected(backend: BackendProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", backend.port), timeout=30)


@contextmanager
def many(backend: BackendProcess, start: bytes, drip: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that have sent ``start`` and then send ``drip``, a byte every tenth of a second."""
    done = threading.Event()

    def keep_dripping() -> None:
        while not done.wait(0.1):
            for one in open_ones:
                with suppress(OSError):
                    one.send(drip)

    with ExitStack() as stack:
        open_ones = [stack.enter_context(connected(backend)) for _ in range(CONNECTIONS)]
        for one in open_ones:
            one.sendall(start)
        thread = threading.Thread(target=keep_dripping if drip else done.wait)
        thread.start()
        try:
            yield open_ones
        finally:
            done.set()
            thread.join()


def assert_others_are_answered(backend: BackendProcess, seconds: float = 2.0) -> None:
    """An attack that worked would keep them waiting for its whole length, until this gives up: REQUEST_S and more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert requests.get(f"{backend.url}/health", timeout=PATIENCE_S).status_code == 200
        event = {"action": "TASKS_DELETED"}
        assert requests.post(f"{backend.url}/webhook", json=event, timeout=PATIENCE_S).status_code == 201
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("start", "drip"),
    [
        (b"", b""),
        (b"P", b""),
        (HEAD + b"X-Long: ", b"y"),
        (HEAD + b"Content-Length: 100000\r\n\r\n{", b" "),
        (HEAD + b"Content-Length: 900000\r\n\r\n{" + b" " * 300_000, b" "),
        (HEAD + b"Content-Length: 99999999\r\n\r\n{", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (HEAD + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n", b""),
        (HEAD.replace(b"/webhook", b"/predict") + b"Content-Length: 1000\r\n\r\n{", b" "),
    ],
    ids=[
        "nothing",
        "a byte",
        "the head",
        "the body",
        "a large body",
        "more than is read",
        "chunks",
        "waits to be told",
        "a prediction",
    ],
)
def test_slow_requests_hold_no_thread(backend: BackendProcess, start: bytes, drip: bytes) -> None:
    with many(backend, start, drip):
        assert_others_are_answered(backend)


@pytest.mark.parametrize(
    "request_sent",
    [b"nonsense\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"],
    ids=["refused", "answered"],
)
def test_a_client_that_does_not_hang_up_holds_nobody(backend: BackendProcess, request_sent: bytes) -> None:
    """gunicorn waits two seconds for it, and in the loop that accepts everybody else's connections."""
    with many(backend, request_sent):
        assert_others_are_answered(backend)


def test_a_client_that_does_not_read_holds_no_thread(backend: BackendProcess) -> None:
    """Thousands of replies asked for in one breath, and none taken: they don't fit into any buffer on the way."""
    with many(backend, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000):
        assert_others_are_answered(backend)


def test_kept_connections_make_room(backend: BackendProcess) -> None:
    """As many as the service holds at once, each after one good request."""
    with ExitStack() as stack:
        for _ in range(THREADS + OTHER_CONNECTIONS + 10):
            one = stack.enter_context(connected(backend))
            one.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            assert one.recv(12) == b"HTTP/1.1 404"
        assert_others_are_answered(backend, 0.2)


def test_the_oldest_unfinished_request_gives_way(backend: BackendProcess) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(connected(backend))
        first.sendall(HEAD)
        for _ in range(UNFINISHED):
            stack.enter_context(connected(backend)).sendall(HEAD)
        first.settimeout(5)
        with suppress(ConnectionResetError):
            assert first.recv(1) == b""


def test_requests_in_pieces_and_in_one_breath_are_answered(backend: BackendProcess) -> None:
    event = b'{"action": "TASKS_DELETED"}'
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(event) + event
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(event), event)
    for sent in (
        [whole],
        [whole[:20], whole[20:-5], whole[-5:]],
        [whole + whole + whole[:40], whole[40:]],
        [chunked],
    ):
        with connected(backend) as client:
            for part in sent:
                client.sendall(part)
                time.sleep(0.05)
            answers = b""
            while answers.count(b'{"status":"ok"}') < max(1, sum(map(len, sent)) // len(whole)):
                answers += client.recv(65536)
            assert answers.count(b"HTTP/1.1 201") == answers.count(b'{"status":"ok"}')


def test_a_hundred_requests_in_one_breath_have_a_hundred_replies(backend: BackendProcess) -> None:
    """More bytes than gunicorn reads at once."""
    with connected(backend) as client:
        client.sendall((b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 200 + b"\r\n\r\n") * 100)
        client.settimeout(10)
        answers = b""
        while answers.count(b'"UP"') < 100:
            answers += client.recv(65536)
    assert answers.count(b"HTTP/1.1 200") == 100


def test_a_refused_body_ends_the_connection(backend: BackendProcess) -> None:
    """Its rest must not be taken for the next request."""
    hidden = b"GET /versions HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(backend) as client:
        client.sendall(HEAD + b"Content-Length: 99999999\r\n\r\n" + hidden)
        client.settimeout(5)
        answer = b""
        while part := client.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.count(b"HTTP/1.1") == 1
