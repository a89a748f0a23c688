"""The example of a balancer, in a real nginx before two services on one PostgreSQL: a project's requests reach one
service, whose cache has its pictures; and whatever becomes of one service, each event is taken within the second that
Label Studio waits, and kept once.
"""

from __future__ import annotations

import base64
import io
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
from event_parts import CONFIG, ROOT_SECRET, Sender, until
from ls_client import click
from ls_server import free_port
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
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


def balanced(stack: ExitStack, database: str, folder: Path) -> tuple[list[BackendProcess], Balancer]:
    """Two services on one PostgreSQL, and the balancer before them."""
    settings = {"database_url": database, "webhook_secret": ROOT_SECRET}
    services = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        services.append(stack.enter_context(BackendProcess(folder / name / "data", settings=settings)))
    (folder / "balancer").mkdir()
    balancer = Balancer(folder / "balancer", (services[0].port, services[1].port))
    return services, stack.enter_context(balancer)


def counted(service: BackendProcess) -> dict[str, int]:
    """Its requests, and what its cache of pictures had and had not."""
    read = requests.get(f"{service.url}/metrics", timeout=10).text
    samples = [sample for family in text_string_to_metric_families(read) for sample in family.samples]

    def of(name: str, **labels: str) -> int:
        same = [one.value for one in samples if one.name == name and labels.items() <= one.labels.items()]
        return int(sum(same))

    return {
        "clicks": of("xsam_backend_requests_total", endpoint="predict"),
        "events": of("xsam_backend_requests_total", endpoint="webhook"),
        "hits": of("xsam_backend_cache_hits_total", layer="states"),
        "misses": of("xsam_backend_cache_misses_total", layer="states"),
    }


def click_on_picture_of(sender: Sender, url: str, x_pct: float) -> None:
    """A click on the project's own picture, which looks like no other's."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (sender.project_id, 0, 0)).save(buffer, "PNG")
    image = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    body = {
        "tasks": [{"id": sender.project_id, "data": {"image": image}}],
        "project": sender.uid,
        "label_config": CONFIG,
        "params": {"context": {"result": [click(x_pct, 50, "cat")]}},
    }
    answer = requests.post(f"{url}/predict", json=body, timeout=60)
    assert answer.json()["results"][0]["result"], answer.text


def test_a_projects_requests_reach_the_service_whose_cache_has_its_pictures(
    postgresql_database: str, tmp_path: Path
) -> None:
    senders = [Sender(number) for number in range(1, 25)]  # so many that no split by hash leaves a service without
    homes: list[int] = []
    with ExitStack() as stack:
        services, balancer = balanced(stack, postgresql_database, tmp_path)

        def added(request: Callable[[], object]) -> list[dict[str, int]]:
            """What a request adds to the numbers of each service; those that it doesn't change left out."""
            before = [counted(service) for service in services]
            request()
            after = [counted(service) for service in services]
            return [
                {name: now[name] - was[name] for name in now if now[name] != was[name]}
                for was, now in zip(before, after, strict=True)
            ]

        for sender in senders:
            url = balancer.address_of(sender.project_id)
            first = added(lambda sender=sender, url=url: click_on_picture_of(sender, url, 30))
            assert sorted(map(len, first)) == [0, 2]
            assert {"clicks": 1, "misses": 1} in first
            homes.append(first.index({"clicks": 1, "misses": 1}))
        for sender, home in zip(senders, homes, strict=True):  # others' clicks have come between
            url = balancer.address_of(sender.project_id)
            second = added(lambda sender=sender, url=url: click_on_picture_of(sender, url, 60))
            assert (second[home], second[1 - home]) == ({"clicks": 1, "hits": 1}, {})
            event = sender.annotated(sender.project_id, sender.project_id, 5)
            sent = added(lambda sender=sender, url=url, event=event: sender.send(url, event))
            assert (sent[home], sent[1 - home]) == ({"events": 1}, {})
        assert set(homes) == {0, 1}, "both are used"


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
    projects = range(1, 9)  # their paths are shared out among both services
    with ExitStack() as stack:
        services, balancer = balanced(stack, postgresql_database, tmp_path)

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
