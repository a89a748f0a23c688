"""What ``doctor`` concludes about the way from Label Studio to the service; tests/e2e has the real ones."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from xsam_backend.cli.checks import Finding, connection, label_studio
from xsam_backend.cli.checks.service import answers, look_up_service
from xsam_backend.config import load_settings
from xsam_backend.errors import LabelStudioError

NOT_RUNNING = Finding("note", "service", "none runs")


class Client:
    """Answers the one question; an error where ``rows`` is one."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def ml_backends(self, project_id: int) -> list[dict[str, Any]]:
        if isinstance(self.rows, Exception):
            raise self.rows
        return list(self.rows)


def row(url: str = "http://10.0.0.5:9090", state: str = "DI", **fields: Any) -> dict[str, Any]:
    return {"id": 1, "title": "xsam", "url": url, "state": state, "is_interactive": True, **fields}


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The report about rows: ``reachable`` from here, and the service's status before and after they were listed."""

    def go(rows: Any, *, reachable: bool = True, status: tuple[Any, Any] = (NOT_RUNNING,) * 2, **given: Any) -> str:
        found = iter([*status, *[status[1]] * 10])
        monkeypatch.setattr(connection, "look_up_service", lambda _: next(found))
        monkeypatch.setattr(connection, "answers", lambda _: reachable)
        monkeypatch.setattr(connection, "resolve_host", lambda host, _: ["8.8.8.8" if "example" in host else host])
        settings = load_settings(label_studio_url="http://ls.example:8080", **given)
        return "\n".join(map(str, connection.check_connection(settings, Client(rows), 7)))  # type: ignore[arg-type]

    return go


@pytest.mark.parametrize(
    ("rows", "given", "said"),
    [
        (LabelStudioError("no such project"), {}, "FAIL  backend: no such project"),
        ([], {}, "here it is http://127.0.0.1:9090"),
        ([row(state="ER", error_message="boom")], {}, "its setup failed: boom"),
        ([row(url="http://10.0.0.5:9191")], {"reachable": False, "status": ({}, {})}, "This service is at"),
        ([row()], {"reachable": False, "status": ({}, {})}, "start it with --host 0.0.0.0"),
        ([row()], {"reachable": False, "host": "0.0.0.0", "status": ({}, {})}, "start the service, or correct"),
        ([row()], {"reachable": False}, "start the service, or correct the address"),
        ([row()], {}, "LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false: start it so"),
        ([row(url="http://localhost:9090")], {}, "on Label Studio's machine this address means that machine"),
        ([row(url="http://xsam.example")], {}, "look for a firewall or proxy"),
        ([row()], {"basic_auth_user": "u", "basic_auth_password": "p"}, "enter them in Label Studio's form"),
        ([row(state="CO")], {}, "whether it is this service can't be told"),
        ([row(state="CO")], {"status": ({"setups": 4}, {"setups": 5})}, "ok    backend: 'xsam' at"),
        ([row(state="CO")], {"status": ({"setups": 4}, {"setups": 4})}, "it is another backend than this service"),
        ([row(state="CO", is_interactive=False)], {}, "'Interactive preannotations' is off"),
        ([row(state="CO"), row(state="CO")], {}, "the labeling page uses the first of them only"),
        (
            [row(state="CO"), row(url="http://10.0.0.6:9090", state="CO")],
            {"status": ({"setups": 4}, {"setups": 6})},
            "ok    backend: 'xsam' at http://10.0.0.6:9090: Label Studio reaches this service",
        ),
    ],
    ids=[
        "no answer",
        "none connected",
        "setup failed",
        "an old port",
        "listening on loopback only",
        "listening, but there nobody answers",
        "not running",
        "private addresses refused",
        "loopback of another machine",
        "firewall",
        "login missing",
        "connected, not seen from here",
        "connected to us",
        "connected to another",
        "not interactive",
        "two interactive ones",
        "two ways to us",
    ],
)
def test_each_state_has_its_words(examine: Any, rows: Any, given: dict[str, Any], said: str) -> None:
    assert said in examine(rows, **given)


def test_of_two_connected_ones_not_both_are_this_service(examine: Any) -> None:
    """One setup arrived, and Label Studio called two backends: which one was it?"""
    said = examine([row(state="CO"), row(url="http://x.example", state="CO")], status=({"setups": 4}, {"setups": 5}))
    assert "ok " not in said
    assert said.count("FAIL  backend: ") == 2
    assert "of 2 connected backends 1 is this service at http://127.0.0.1:9090: take the other ones away" in said


def test_a_password_in_an_address_is_not_printed(examine: Any) -> None:
    said = examine([row(url="http://me:s3cret@10.0.0.5:9090"), row(url="http://me:s3cret@10.0.0.5:9090", state="CO")])
    assert said.count("…@10.0.0.5:9090") == 2
    assert "s3cret" not in said


@pytest.fixture
def redirecting() -> Iterator[tuple[int, list[str | None]]]:
    """A port that sends everybody on to another host name, and the logins that arrive there."""
    logins: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers["Host"].startswith("127.0.0.1"):
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{self.server.server_port}/")  # type: ignore[attr-defined]
            else:
                logins.append(self.headers.get("Authorization"))
                self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, logins
        server.shutdown()
        thread.join()


def test_the_login_follows_no_redirect(redirecting: tuple[int, list[str | None]]) -> None:
    port, logins = redirecting
    found = look_up_service(load_settings(port=port, basic_auth_user="u", basic_auth_password="p"))
    assert isinstance(found, Finding)
    assert logins == [None]


@pytest.fixture
def foreign_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Somebody who takes connections, says ``request.param`` and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_speak, args=(listener, request.param), daemon=True)
        thread.start()
        yield listener.getsockname()[1]


def _speak(listener: socket.socket, words: bytes) -> None:
    while True:
        try:
            connected, _ = listener.accept()
        except OSError:  # closed: the test has ended
            return
        with connected:
            if words:
                connected.recv(1000)  # else hanging up would take the words back
                connected.sendall(words)


@pytest.mark.parametrize(
    ("foreign_port", "said"),
    [
        (b"", "does not answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "another program answers at this port"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{", "another program answers at this port"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", "another program answers at this port"),
    ],
    indirect=["foreign_port"],
    ids=["silence", "another protocol", "half an answer", "another service"],
)
def test_a_port_that_somebody_else_holds_is_no_missing_service(foreign_port: int, said: str) -> None:
    found = look_up_service(load_settings(port=foreign_port))
    assert isinstance(found, Finding)
    assert found.mark == "FAIL"
    assert said in found.found


@pytest.mark.parametrize("foreign_port", [b"SSH-2.0-OpenSSH_9.2\r\n"], indirect=True)
def test_what_speaks_another_protocol_is_no_backend(foreign_port: int) -> None:
    assert not answers(f"http://127.0.0.1:{foreign_port}")


@pytest.mark.parametrize("url", ["", "x", "http://", "http://127.0.0.1:port", "http://me:s3cret@127.0.0.1:1", "a b"])
def test_what_is_no_address_does_not_answer(url: str) -> None:
    """Label Studio keeps what was typed."""
    assert not answers(url)


def test_inside_a_container_localhost_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_studio.Path, "exists", lambda self: str(self) == "/.dockerenv")
    settings = load_settings(label_studio_url="http://localhost:1", label_studio_token="f" * 40)
    (finding,) = label_studio.check_label_studio(settings, None)
    assert "such as http://label-studio:8080" in finding.found
