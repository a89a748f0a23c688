"""A real HTTP server for tests: answers by path, remembers what it was asked."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization")


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class WebServer:
    """``routes``: path without query -> (status, headers, body), or a function of the handler that gives them or
    answers itself. The handler's ``body`` is the request's."""

    url: str
    port: int
    routes: dict[str, Answer | Callable[[Any], Answer | None]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        """Serve ``body`` at ``path``; the full address."""
        self.routes[path] = (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
        return self.url + path


@contextmanager
def web_server(host: str = "127.0.0.1", wrap: Callable[[Any], Any] | None = None) -> Iterator[WebServer]:
    """A running server on a free port of ``host``; ``wrap`` may put TLS around its socket."""
    server: WebServer

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.body = self.rfile.read(length)
            server.asked.append(Asked(self.command, self.path, headers, self.body))
            route = server.routes.get(self.path.partition("?")[0], (404, {}, b"not here"))
            answer = route(self) if callable(route) else route
            if answer is None:
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = _answer

        def handle(self) -> None:
            with suppress(OSError):  # the client has seen enough and hung up; some tests are about that
                super().handle()

        def log_message(self, *args: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:
            """Nothing: a client that refuses the TLS handshake is what some tests are about."""

    with Server((host, 0), Handler) as listening:
        if wrap is not None:
            listening.socket = wrap(listening.socket)
        port = listening.server_address[1]
        server = WebServer(f"http{'s' if wrap else ''}://{host}:{port}", port)
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            listening.shutdown()
            thread.join()
