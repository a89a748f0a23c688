"""What ``doctor`` concludes about the way from Label Studio to the service; tests/e2e has the real ones."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from xsam_backend.cli.checks import Finding, connection, label_studio
from xsam_backend.cli.checks.service import look_up_service
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
    ],
)
def test_each_state_has_its_words(examine: Any, rows: Any, given: dict[str, Any], said: str) -> None:
    assert said in examine(rows, **given)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody who takes connections and never speaks HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_hang_up, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]


def _hang_up(listener: socket.socket) -> None:
    while True:
        try:
            connected, _ = listener.accept()
        except OSError:  # closed: the test has ended
            return
        connected.close()


def test_a_port_that_somebody_else_holds_is_no_missing_service(silent_port: int) -> None:
    found = look_up_service(load_settings(port=silent_port))
    assert isinstance(found, Finding)
    assert found.mark == "FAIL"
    assert "does not answer" in found.found


def test_inside_a_container_localhost_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_studio.Path, "exists", lambda self: str(self) == "/.dockerenv")
    settings = load_settings(label_studio_url="http://localhost:1", label_studio_token="f" * 40)
    (finding,) = label_studio.check_label_studio(settings, None)
    assert "such as http://label-studio:8080" in finding.found
