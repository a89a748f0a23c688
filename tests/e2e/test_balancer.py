"""The example of a balancer, in a real nginx before two services on one PostgreSQL: whatever becomes of one of them,
each event is taken within the second that Label Studio waits, and kept once.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from backend_process import BackendProcess
from event_parts import ROOT_SECRET, Sender, until
from ls_server import free_port
from sqlalchemy import make_url

from xsam_backend.store.database import open_database
from xsam_backend.store.inbox import Inbox

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("nginx") is None, reason="nginx is not installed (Debian: apt install nginx-light)"
    ),
]

EXAMPLE = Path(__file__).parents[2] / "examples" / "balancer" / "nginx.conf"

LABEL_STUDIO_WAITS_S = 1.0


class Balancer:
    """nginx with the example's file, its three ports replaced, before two services."""

    def __init__(self, folder: Path, ports: tuple[int, int]) -> None:
        self.port = free_port()
        text = EXAMPLE.read_text("utf-8")
        for example, port in ((9090, self.port), (9091, ports[0]), (9092, ports[1])):
            text = text.replace(f"listen {example};", f"listen 127.0.0.1:{port};").replace(
                f"127.0.0.1:{example} ", f"127.0.0.1:{port} "
            )
        own = [f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
        text = text.replace("http {", "\n".join(["http {", f"access_log {folder}/access.log;", *own]))
        self._file = folder / "nginx.conf"
        self._file.write_text(text, "utf-8")
        self._command = ["nginx", "-p", str(folder), "-c", str(self._file), "-e", str(folder / "error.log")]
        self._command += ["-g", f"daemon off; master_process off; pid {folder}/nginx.pid;"]

    def __enter__(self) -> Balancer:
        self._process = subprocess.Popen(self._command)
        until(self._is_up, 20, "nginx")
        return self

    def _is_up(self) -> bool:
        assert self._process.poll() is None, "nginx has ended"
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def address_of(self, project_id: int) -> str:
        """As the project's backend is connected in Label Studio."""
        return f"http://127.0.0.1:{self.port}/p/{project_id}"


def is_killed(service: BackendProcess, stack: ExitStack) -> None:
    """Nobody listens at its port."""
    service.kill()

    def is_free() -> bool:  # its worker dies a moment later than the process that is waited for
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", service.port)) != 0

    until(is_free, 20, "the end of a service")


def is_frozen(service: BackendProcess, stack: ExitStack) -> None:
    """The kernel still takes connections, nobody answers on them."""
    assert service.process is not None
    os.killpg(service.process.pid, signal.SIGSTOP)
    stack.callback(os.killpg, service.process.pid, signal.SIGCONT)


def is_cut_off(service: BackendProcess, stack: ExitStack) -> None:
    """Its machine is gone: packets to it get no answer. Here, those to a listener whose queue is full."""
    is_killed(service, stack)
    listener = stack.enter_context(closing(socket.socket()))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", service.port))
    listener.listen(0)
    for _ in range(20):
        waiting = stack.enter_context(closing(socket.socket()))
        waiting.settimeout(0.3)
        if waiting.connect_ex(("127.0.0.1", service.port)) != 0:
            return
    pytest.skip("this kernel takes connections beyond a listener's queue")


def answers(status: int) -> Callable[[BackendProcess, ExitStack], None]:
    """It answers every request with this status: its database is gone, or it has a bug."""

    def fault(service: BackendProcess, stack: ExitStack) -> None:
        is_killed(service, stack)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", service.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)

    return fault


@pytest.fixture
def kept(postgresql_database: str) -> Iterator[Callable[[], list[int]]]:
    """``kept()``: numbers of the annotations whose events are in the inbox, each as often as it is there."""
    engine = open_database(make_url(postgresql_database), "inbox")

    def read() -> list[int]:
        found: list[int] = []
        after = 0
        while events := Inbox(engine).after(after):
            found += [event.body["annotation"]["id"] for event in events]
            after = events[-1].id
        return found

    yield read
    engine.dispose()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(is_killed, id="killed"),
        pytest.param(is_frozen, id="frozen"),
        pytest.param(is_cut_off, id="cut off"),
        pytest.param(answers(500), id="a bug"),
        pytest.param(answers(503), id="no database"),
    ],
)
def test_no_event_is_lost(
    fault: Callable[[BackendProcess, ExitStack], None],
    postgresql_database: str,
    kept: Callable[[], list[int]],
    tmp_path: Path,
) -> None:
    settings = {"database_url": postgresql_database, "webhook_secret": ROOT_SECRET}
    projects = range(1, 9)  # their paths are shared out among both services
    with ExitStack() as stack:
        services = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            services.append(stack.enter_context(BackendProcess(tmp_path / name / "data", settings=settings)))
        (tmp_path / "balancer").mkdir()
        ports = services[0].port, services[1].port
        balancer = stack.enter_context(Balancer(tmp_path / "balancer", ports))

        def send(number: int) -> int:
            sender = Sender(projects[number % len(projects)])
            event = sender.annotated(number, number, 5)
            try:
                return sender.send(balancer.address_of(sender.project_id), event, LABEL_STUDIO_WAITS_S).status_code
            except requests.RequestException:
                return 0  # Label Studio logs a line and forgets the event

        numbers = range(1, 41)
        assert [send(number) for number in numbers[:16]] == [201] * 16
        fault(services[0], stack)
        acknowledged = [send(number) for number in numbers[16:]]
        until(lambda: set(kept()) >= set(numbers), 20, "every event in the inbox")
        assert sorted(kept()) == list(numbers), "none is lost, none is there twice"
        # A busy machine may take one over the second; with the fault it's every event of half the projects.
        assert acknowledged.count(201) >= len(acknowledged) - 3
