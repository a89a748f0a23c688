"""Requests as no library would send them: nothing of theirs becomes a header, or a second reply, of ours."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests
from backend_process import BackendProcess

pytestmark = pytest.mark.e2e

ENDS = {
    "CR LF": b"\r\n",
    "folded": b"\r\n ",
    "folded by a tab": b"\r\n\t",
    "a CR alone": b"\r",
    "an LF alone": b"\n",
    "NUL": b"\x00",
    "vertical tab": b"\x0b",
    "quoted": b"%0d%0a",
    "U+2028": "\u2028".encode(),
    "letters whose low bytes are CR and LF": "\u560d\u560a".encode(),
    "the next line of Latin-1": b"\x85",
}

REQUESTS = {
    "a path that isn't there": b"GET /nowhere%sX-Evil:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version's picture": b"GET /versions/a%sX-Evil:1/b.jpg HTTP/1.1\r\nHost: x\r\n\r\n",
    "a job": b"GET /jobs/1%sX-Evil:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path with a slash too many": b"GET /jobs/%sX-Evil:1/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "parameters": b"GET /jobs?limit=1%sX-Evil:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a request's id": b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: a%sX-Evil: 1\r\n\r\n",
    "a host": b"GET /jobs/ HTTP/1.1\r\nHost: x%sX-Evil: 1\r\n\r\n",
    "a method": b"GET%sX-Evil:1 /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "a login": b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic a%sX-Evil: 1\r\n\r\n",
}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    with BackendProcess(tmp_path_factory.mktemp("raw") / "data") as running:
        yield running


def reply_to(port: int, request: bytes) -> bytes:
    """All that comes back until the server hangs up, which the last line asks for."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = b""
        with suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
    return received


def assert_nothing_of_theirs_in_the_head(reply: bytes) -> None:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 "), reply
    lines = re.split(rb"[\r\n\x00\x0b\x85]|\xe2\x80\xa8", head)
    assert not [line for line in lines if line.strip().lower().startswith(b"x-evil")], head
    assert b"HTTP/1.1 " not in body, "a second reply"


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_request_puts_no_header_into_the_reply(backend: BackendProcess, request_: bytes, end: bytes) -> None:
    assert_nothing_of_theirs_in_the_head(reply_to(backend.port, request_ % end))


def test_a_sane_id_comes_back_and_the_service_is_well_afterwards(backend: BackendProcess) -> None:
    """Else the others could pass because nothing ever comes back."""
    assert (
        requests.get(f"{backend.url}/health", headers={"X-Request-ID": "mine-1"}).headers["X-Request-ID"] == "mine-1"
    )
    assert "Traceback" not in backend.log
