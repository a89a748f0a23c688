"""A proxy before a real Label Studio that is slow, dead, half-dead or lies, as it is told from moment to moment."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FAULTS = ("slow", "dead", "half-dead", "error", "no JSON", "another JSON", "cut off", "drip")
"""
slow: everything comes ``SLOW_S`` late.
dead: connections are closed without a word.
half-dead: headers come, then nothing.
error: HTTP 500 with a page of HTML.
no JSON: HTTP 200 with a page of HTML, as a login page behind a redirect is.
another JSON: HTTP 200 with JSON of another shape.
cut off: half of the answer, then the connection ends.
drip: a byte of the answer every ``DRIPS_S``, without end.
"""

SLOW_S = 1.5
HANGS_S = 60.0
DRIPS_S = 0.1
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
_PAGE = b"<!doctype html><title>Sign in</title>"


class FaultyProxy:
    """``with FaultyProxy(url) as proxy:`` passes requests at ``proxy.url`` on to ``url``; set ``proxy.fault`` to one
    of ``FAULTS``, or to None."""

    def __init__(self, upstream: str) -> None:
        self.fault: str | None = None
        self.passed = self.spoilt = 0
        self._upstream = urlsplit(upstream)
        self._released = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                owner._handle(self)

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = do_HEAD = handle_any

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                """A client that is gone is nobody's error here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultyProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, asked: BaseHTTPRequestHandler) -> None:
        fault = self.fault
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        if fault is None:
            self.passed += 1
            self._answer(asked, *self._ask(asked, body))
            return
        self.spoilt += 1
        if fault == "slow":
            time.sleep(SLOW_S)
            self._answer(asked, *self._ask(asked, body))
        elif fault == "dead":
            self._hang_up(asked)
        elif fault == "half-dead":
            asked.send_response(200)
            asked.send_header("Content-Type", "application/json")
            asked.send_header("Content-Length", "1000")
            asked.end_headers()
            asked.wfile.flush()
            self._released.wait(HANGS_S)
            self._hang_up(asked)
        elif fault == "error":
            self._answer(asked, 500, {"Content-Type": "text/html"}, _PAGE)
        elif fault == "no JSON":
            self._answer(asked, 200, {"Content-Type": "text/html"}, _PAGE)
        elif fault == "another JSON":
            self._answer(asked, 200, {"Content-Type": "application/json"}, b'["expected", "something else"]')
        elif fault == "cut off":
            status, headers, content = self._ask(asked, body)
            self._answer(asked, status, headers, content[: len(content) // 2], length=len(content) + 1)
            self._hang_up(asked)
        elif fault == "drip":
            asked.send_response(200)
            asked.send_header("Content-Type", "application/json")
            asked.send_header("Content-Length", "1000000")
            asked.end_headers()
            while not self._released.wait(DRIPS_S):  # until the client has had enough
                asked.wfile.write(b" ")
                asked.wfile.flush()
        else:
            raise ValueError(f"fault: expected one of {FAULTS}, got {fault!r}")

    def _ask(self, asked: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        assert self._upstream.hostname is not None
        connection = http.client.HTTPConnection(self._upstream.hostname, self._upstream.port, timeout=120)
        try:
            headers = {name: value for name, value in asked.headers.items() if name.lower() not in _HOP}
            connection.request(asked.command, asked.path, body or None, headers)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    @staticmethod
    def _answer(
        asked: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes, length: int | None = None
    ) -> None:
        asked.send_response(status)
        for name, value in headers.items():
            asked.send_header(name, value)
        asked.send_header("Content-Length", str(len(content) if length is None else length))
        asked.end_headers()
        if asked.command != "HEAD":
            asked.wfile.write(content)
        asked.wfile.flush()

    @staticmethod
    def _hang_up(asked: Any) -> None:
        asked.close_connection = True
        with suppress(OSError):
            asked.connection.shutdown(socket.SHUT_RDWR)
