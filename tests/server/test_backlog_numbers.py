"""The alerts of docs/prometheus-alerts.yml about what an outage keeps waiting, under the faults that they are for."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from app_parts import MemoryImages, services_of
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from sqlalchemy.orm import Session
from web_server import WebServer, web_server

from xsam_backend.server import label_studio_watch
from xsam_backend.store.tables import EventRow
from xsam_backend.store.tasks import TaskPicture

PAGE = Path(__file__).parents[2] / "docs" / "prometheus-alerts.yml"
EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in yaml.safe_load(PAGE.read_text("utf-8"))["groups"][0]["rules"]}


def fires(alert: str, app: Any, before: Any = None) -> bool:
    """Whether an alert's expression is true now. ``increase`` is that since ``before``, an answer of ``/metrics``."""
    expression = re.sub(r"^increase\((.*)\[\w+\]\)", r"\1", EXPRESSIONS[alert])
    found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (==|>) (\d+)", expression)
    assert found, expression
    name, labels, sign, bound = found.groups()
    wanted = re.findall(r'(\w+)(=~?)"([^"]*)"', labels or "")

    def total(text: str) -> float:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        matching = [
            sample.value
            for sample in samples
            if sample.name == name
            and all(
                re.fullmatch(value if kind == "=~" else re.escape(value), sample.labels.get(label, ""))
                for label, kind, value in wanted
            )
        ]
        assert matching, f"{name}: Prometheus sees no increase in a number that isn't there beforehand"
        return sum(matching)

    value = total(metrics(app)) - (total(before) if before else 0)
    return value == float(bound) if sign == "==" else value > float(bound)


def metrics(app: Any) -> str:
    return str(app.test_client().get("/metrics").text)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def with_label_studio(make_app: Any, server: WebServer) -> Any:
    server.put("/api/current-user/whoami", b'{"id": 1}')
    return make_app(images=MemoryImages(), label_studio_url=server.url, label_studio_token="f" * 40)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((502, {}, b"<html>bad gateway"), "a proxy before it has lost it"),
        ((401, {}, b"{}"), "it refuses the token"),
        ((200, {}, b"<html>Sign in"), "something else answers at its address"),
        (lambda handler: None, "it hangs up"),
    ],
)
def test_label_studio_is_gone(make_app: Any, monkeypatch: pytest.MonkeyPatch, answer: Any, reason: str) -> None:
    monkeypatch.setattr(label_studio_watch, "LOOK_EVERY_S", 0.05)
    alert = "XSamBackendLabelStudioGone"
    with web_server() as server:
        app = with_label_studio(make_app, server)
        watch = services_of(app).label_studio_watch
        until(lambda: watch.is_reachable is True, "Label Studio is there")
        assert not fires(alert, app)
        server.routes["/api/current-user/whoami"] = answer
        until(lambda: fires(alert, app), reason)
        assert "Label Studio" in {problem.where for problem in services_of(app).monitor.last_problems}
        server.put("/api/current-user/whoami", b'{"id": 1}')
        until(lambda: not fires(alert, app), "it is back")


def test_an_outage_that_was_fires_again(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words again are no new problem in the monitor; the number is there all the same."""
    monkeypatch.setattr(label_studio_watch, "LOOK_EVERY_S", 0.05)
    with web_server() as server:
        app = with_label_studio(make_app, server)
        for _ in range(2):
            server.put("/api/current-user/whoami", b"", 503)
            until(lambda: fires("XSamBackendLabelStudioGone", app), "gone")
            server.put("/api/current-user/whoami", b'{"id": 1}')
            until(lambda: not fires("XSamBackendLabelStudioGone", app), "back")


def test_without_a_label_studio_there_is_no_such_number(make_app: Any) -> None:
    assert "label_studio_reachable" not in metrics(make_app())


def test_events_are_refused(make_app: Any) -> None:
    app = make_app()
    before = metrics(app)
    assert app.test_client().post("/webhook", json={"action": "A"}).status_code == 201
    assert not fires("XSamBackendEventsRefused", app, before)
    inbox = services_of(app).databases[0].url.database
    with closing(sqlite3.connect(inbox, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert app.test_client().post("/webhook", json={"action": "B"}).status_code == 503
    assert fires("XSamBackendEventsRefused", app, before)


def test_events_are_not_read(make_app: Any) -> None:
    app = make_app()
    parts = services_of(app)
    parts.collecting.close()  # as good as one that fails each time
    app.test_client().post("/webhook", json={"action": "TASKS_DELETED", "tasks": [{"id": 1}]})
    assert not fires("XSamBackendEventsUnread", app), "it has just come"
    with Session(parts.databases[0]) as session, session.begin():
        session.execute(update(EventRow).values(received_at=datetime.now(timezone.utc) - timedelta(seconds=130)))
    assert fires("XSamBackendEventsUnread", app)


def test_events_that_were_read_are_not_late(make_app: Any) -> None:
    app = make_app()
    parts = services_of(app)
    app.test_client().post("/webhook", json={"action": "TASKS_DELETED", "tasks": [{"id": 1}]})
    with Session(parts.databases[0]) as session, session.begin():
        session.execute(update(EventRow).values(received_at=datetime.now(timezone.utc) - timedelta(seconds=130)))
    parts.collecting.wake()
    until(lambda: not fires("XSamBackendEventsUnread", app), "read, and its place kept")


def test_pictures_lack(make_app: Any) -> None:
    app = make_app()
    parts = services_of(app)
    assert not fires("XSamBackendPicturesLack", app)
    parts.collecting.close()
    for number in range(51):
        parts.tasks.know("local/1.1", number, [TaskPicture("image", None, f"/data/upload/{number}.png")])
    assert fires("XSamBackendPicturesLack", app)


def test_a_database_that_cannot_be_read_costs_no_other_number(make_app: Any) -> None:
    app = make_app()
    parts = services_of(app)
    parts.collecting.close()
    with Session(parts.databases[1]) as session, session.begin():
        session.connection().exec_driver_sql("ALTER TABLE tasks RENAME TO gone")
    text = metrics(app)
    assert "xsam_backend_tasks_lacking_pictures " not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    assert "xsam_backend_events_unread 0" in text
