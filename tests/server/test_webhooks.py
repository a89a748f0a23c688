from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from xsam_backend.errors import LabelStudioError, NotFoundError, RequestError
from xsam_backend.server.auth import WEBHOOK_HEADER, WebhookSecrets
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.webhooks import WebhookGuard, WebhookReceiver
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.projects import ProjectKey, Projects

KEY = ProjectKey("local", 21, 1795347497)
PROJECT = {
    "id": 21,
    "created_at": "2026-11-22T11:38:17.732496Z",
    "title": "cells",
    "label_config": "<View/>",
    "token": "t",
}
SECRETS = WebhookSecrets("root" * 8)


class Parts:
    def __init__(self, folder: Path) -> None:
        self.databases = [open_database(database_url(name, folder), name) for name in ("inbox", "store")]
        self.inbox, self.projects = Inbox(self.databases[0]), Projects(self.databases[1])
        self.monitor = Monitor()
        self.receiver = WebhookReceiver(self.inbox, self.projects, SECRETS, "local", self.monitor)

    def close(self) -> None:
        for database in self.databases:
            database.dispose()


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("secret", "has_login", "action", "verified"),
    [
        (SECRETS.of(KEY), False, "TASKS_CREATED", True),
        (None, False, "TASKS_CREATED", False),
        ("0" * 64, False, "TASKS_CREATED", False),
        (None, True, "TASKS_CREATED", False),
        (None, True, "START_TRAINING", True),
        (None, False, "START_TRAINING", False),
    ],
    ids=[
        "the project's secret",
        "no secret",
        "a wrong secret",
        "a login proves nothing where none is sent",
        "the button, with a login",
        "the button, no login demanded",
    ],
)
def test_what_makes_an_event_believable(
    parts: Parts, secret: str | None, has_login: bool, action: str, verified: bool
) -> None:
    parts.receiver.receive({"action": action, "project": PROJECT}, secret, has_login=has_login)
    (event,) = parts.inbox.after()
    assert event.verified is verified
    assert event.project_key == str(KEY)
    assert "token" not in event.body["project"]


def test_a_deleted_project_comes_with_its_id_alone(parts: Parts) -> None:
    """From an organization's webhook. Without a creation time it is no project that we know: a hint."""
    parts.receiver.receive({"action": "PROJECT_DELETED", "project": {"id": 21}}, SECRETS.of(KEY), has_login=False)
    (event,) = parts.inbox.after()
    assert (event.project_key, event.verified, event.body["project"]) == (None, False, {"id": 21})


@pytest.mark.parametrize("project", [{"id": 21}, {"id": "x", "created_at": "2026"}, [], "21.17"])
def test_any_other_event_names_its_project_whole(parts: Parts, project: Any) -> None:
    with pytest.raises(RequestError, match=r"project: expected an object with a number 'id'"):
        parts.receiver.receive({"action": "TASKS_CREATED", "project": project}, None, has_login=False)


@pytest.mark.parametrize("body", [{}, {"action": 5}, {"action": ""}, {"action": "a\0b"}, {"action": "a\nERROR b"}])
def test_an_event_without_an_action_is_refused(parts: Parts, body: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"action: expected the name of an event"):
        parts.receiver.receive(body, None, has_login=False)


def test_made_up_actions_do_not_flood_the_metrics(parts: Parts) -> None:
    for number in range(5):
        parts.receiver.receive({"action": f"MADE_UP_{number}"}, None, has_login=False)
    text = parts.monitor.metrics().decode()
    assert 'xsam_backend_webhook_events_total{action="other",verified="false"} 5.0' in text
    assert "MADE_UP" not in text


class Api:
    """Label Studio's project 21 and its webhook rows; ``rows`` per look, the last one stays."""

    def __init__(self, *rows: list[dict[str, Any]]) -> None:
        self.rows = list(rows)
        self.looks = 0
        self.changed: dict[int, Mapping[str, str]] = {}

    def project(self, project_id: int) -> dict[str, Any]:
        if project_id != 21:
            raise NotFoundError("no such project")
        return PROJECT

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        assert project_id == 21
        self.looks += 1
        return self.rows.pop(0) if len(self.rows) > 1 else self.rows[0]

    def set_webhook_headers(self, webhook_id: int, headers: Mapping[str, str]) -> dict[str, Any]:
        self.changed[webhook_id] = headers
        return {}


OURS = {"id": 19, "url": "http://backend:9090/webhook", "headers": {}}


def guard(
    parts: Parts, api: Api, monkeypatch: pytest.MonkeyPatch, setups: int = 1, own_host: str = "backend:9090"
) -> None:
    monkeypatch.setattr(WebhookGuard, "DELAYS_S", (0.0, 0.0, 0.0))
    made = WebhookGuard(api, SECRETS, parts.monitor)
    for _ in range(setups):
        made.after_setup(KEY, own_host)
    made._round()


def test_our_row_gets_the_secret(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api([{**OURS, "headers": {"X-Kept": "1"}}, {"id": 20, "url": "http://other:9090/webhook", "headers": {}}])
    guard(parts, api, monkeypatch)
    assert api.changed == {19: {"X-Kept": "1", WEBHOOK_HEADER: SECRETS.of(KEY)}}


def test_the_row_may_appear_later(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Label Studio creates it after the setup that connects a backend."""
    api = Api([], [OURS])
    guard(parts, api, monkeypatch)
    assert set(api.changed) == {19}


def test_a_path_prefix_and_a_slash_are_still_ours(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api([{**OURS, "url": "http://backend:9090/ml/webhook/"}])
    guard(parts, api, monkeypatch)
    assert set(api.changed) == {19}


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("http://Backend:9090/webhook", True),
        ("http://backend:9091/webhook", False),
        ("http://backend/webhook", False),
        ("http://backend:no-port/webhook", False),
        ("http://backend:9090/other", False),
        ("", False),
    ],
    ids=["typed in upper case", "another port", "no port", "a broken port", "another path", "nothing"],
)
def test_which_rows_are_ours(parts: Parts, monkeypatch: pytest.MonkeyPatch, url: str, ours: bool) -> None:
    api = Api([{**OURS, "url": url}])
    guard(parts, api, monkeypatch)
    assert (set(api.changed) == {19}) is ours


def test_a_usual_port_that_was_typed_is_the_one_that_a_host_header_leaves_out(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api([{**OURS, "url": "https://backend.example:443/webhook"}])
    guard(parts, api, monkeypatch, own_host="backend.example")
    assert set(api.changed) == {19}


def test_a_look_that_found_no_room_is_made_up_for_by_the_next_setup(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WebhookGuard, "DELAYS_S", (0.0,))
    monkeypatch.setattr(WebhookGuard, "LOOKS_LIMIT", 3)
    api = Api([OURS])
    made = WebhookGuard(api, SECRETS, parts.monitor)
    for number in range(100, 103):
        made.after_setup(ProjectKey("local", number, 5), "backend:9090")
    made.after_setup(KEY, "backend:9090")
    made._round()
    assert api.looks == 0
    made.after_setup(KEY, "backend:9090")
    made._round()
    assert set(api.changed) == {19}


@pytest.mark.parametrize("forged", [ProjectKey("local", 21, 5), ProjectKey("local", 404, 5)])
def test_a_setup_of_no_project_changes_no_webhook(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, forged: ProjectKey
) -> None:
    """The first has a real project's number: its webhook must keep that project's secret."""
    monkeypatch.setattr(WebhookGuard, "DELAYS_S", (0.0, 0.0, 0.0))
    api = Api([OURS])
    made = WebhookGuard(api, SECRETS, parts.monitor)
    made.after_setup(forged, "backend:9090")
    made._round()
    assert (api.changed, api.looks) == ({}, 0)
    (problem,) = parts.monitor.last_problems
    assert "which Label Studio hasn't" in problem.message


def test_a_flood_of_setups_waits_in_no_thread(parts: Parts) -> None:
    """Each look waits its seconds for Label Studio to make the row; the thread does what is due meanwhile."""
    api = Api([OURS])
    made = WebhookGuard(api, SECRETS, parts.monitor)
    for number in range(100, 200):
        made.after_setup(ProjectKey("local", number, 5), "backend:9090")
    made.DELAYS_S = (0.0,)
    made.after_setup(KEY, "backend:9090")
    made._round()
    assert set(api.changed) == {19}


def test_a_row_that_has_the_secret_is_left(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api([{**OURS, "headers": {WEBHOOK_HEADER: SECRETS.of(KEY)}}])
    guard(parts, api, monkeypatch)
    assert api.changed == {}


def test_every_opened_page_sends_a_setup_but_one_look_is_enough(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api([OURS])
    guard(parts, api, monkeypatch, setups=50)
    assert api.looks == 1


def test_a_missing_row_is_told(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    guard(parts, Api([]), monkeypatch)
    (problem,) = parts.monitor.last_problems
    assert "annotations are not heard of" in problem.message


def test_an_api_that_refuses_is_told_and_harms_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(Api):
        def webhooks(self, project_id: int) -> list[dict[str, Any]]:
            raise LabelStudioError("token refused")

    guard(parts, Refusing([]), monkeypatch)
    (problem,) = parts.monitor.last_problems
    assert (problem.kind, problem.message) == ("LabelStudioError", "token refused")
