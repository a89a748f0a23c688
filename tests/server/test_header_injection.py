"""Line ends in what comes from outside: no header of a download's request, and no line of the log, takes them.

(Replies: ``tests/e2e/test_raw_requests.py``, where a real server parses the requests.)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from app_parts import click, png, request_of
from raw_server import RawServer

PICTURE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(png()), png())

INJECTED = {
    "CR LF": b"\r\nX-Evil: 1",
    "folded": b"\r\n X-Evil: 1",
    "folded by a tab": b"\r\n\tX-Evil: 1",
    "a CR alone": b"\rX-Evil: 1",
    "an LF alone": b"\nX-Evil: 1",
    "an LF alone, folded": b"\n X-Evil: 1",
    "NUL": b"\x00X-Evil: 1",
    "vertical tab": b"\x0bX-Evil: 1",
    "quoted": b"%0d%0aX-Evil:%201",
    "quoted twice": b"%250d%250aX-Evil:%201",
    "U+2028": "\u2028X-Evil: 1".encode(),
    "letters whose low bytes are CR and LF": "\u560d\u560aX-Evil: 1".encode(),
    "the next line of Latin-1": b"\x85X-Evil: 1",
    "a whole request": b" HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET /c.png",
}
TEXTS = {
    name: raw.decode("utf-8", "surrogateescape")
    for name, raw in INJECTED.items()
    if name != "the next line of Latin-1"
}


def injected_lines(head: bytes) -> list[bytes]:
    """Lines of a request's head that somebody may read as the header X-Evil, however they take line ends."""
    lines = re.split(rb"[\r\n\x00\x0b\x85]|\xe2\x80\xa8", head)
    return [line for line in lines if line.strip().lower().startswith(b"x-evil")]


@contextmanager
def raw(answer: bytes) -> Iterator[RawServer]:
    server = RawServer(answer)
    try:
        yield server
    finally:
        server.close()


def ask(make_app: Any, address: str) -> int:
    app = make_app(allow_private_hosts=("127.0.0.1",))
    answer = app.test_client().post("/predict", json=request_of(address, context=[click(50, 50)]))
    assert "X-Evil" not in answer.headers
    return int(answer.status_code)


@pytest.mark.parametrize("end", TEXTS.values(), ids=TEXTS)
def test_an_address_puts_no_header_into_a_download(make_app: Any, end: str) -> None:
    with raw(PICTURE) as server:
        assert ask(make_app, f"{server.url}/a.png") == 200
        for address in (f"{server.url}/a.png{end}", f"{server.url}/a.png?b={end}", f"{server.url}{end}/a.png"):
            ask(make_app, address)
        assert len(server.asked) >= 1
        assert [injected_lines(head) for head in server.asked] == [[]] * len(server.asked)
        assert all(head.count(b"\r\n\r\n") == 1 for head in server.asked)


@pytest.mark.parametrize("end", INJECTED.values(), ids=INJECTED)
def test_a_redirect_puts_no_header_into_the_next_request(make_app: Any, end: bytes) -> None:
    with raw(PICTURE) as there, raw(b"") as from_there:
        for path in (b"/b.png", b"/b.png?c="):
            location = there.url.encode() + path + end
            from_there.answer = b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location
            ask(make_app, f"{from_there.url}/a.png")
        assert len(from_there.asked) == 2
        assert [injected_lines(head) for head in there.asked] == [[]] * len(there.asked)
        assert all(head.count(b"\r\n\r\n") == 1 for head in there.asked)


def test_a_redirect_without_any_of_that_is_followed(make_app: Any) -> None:
    """Else the others could pass because none is."""
    with raw(PICTURE) as there, raw(b"") as from_there:
        from_there.answer = f"HTTP/1.1 302 Found\r\nLocation: {there.url}/b.png\r\nContent-Length: 0\r\n\r\n".encode()
        assert ask(make_app, f"{from_there.url}/a.png") == 200
        assert len(there.asked) == 1


def test_an_address_forges_no_line_of_the_log(make_app: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        body = request_of("gopher://a.example/\nERROR all is lost", context=[click(50, 50)])
        make_app().test_client().post("/predict", json=body)
    assert "all is lost" in caplog.text
    assert "\nERROR" not in caplog.text
