"""PostgreSQL is stopped under a running service and started again: what is answered, what is lost, who comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from backend_process import BackendProcess
from event_parts import ROOT_SECRET, Sender, until
from sqlalchemy import URL, Engine, make_url
from test_serving import click_on

from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import open_database
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import Projects

pytestmark = pytest.mark.e2e


@pytest.fixture
def opened(stopping_postgresql: Any) -> Iterator[Callable[[URL], Engine]]:
    """Opens stores that are closed before their server is."""
    engines: list[Engine] = []

    def open_it(url: URL) -> Engine:
        engines.append(open_database(url, "store"))
        return engines[-1]

    yield open_it
    for engine in engines:
        engine.dispose()


def test_a_database_server_that_goes_and_comes_back(
    stopping_postgresql: Any, opened: Callable[[URL], Engine], tmp_path: Path
) -> None:
    url = str(stopping_postgresql.get_uri(driver="psycopg"))
    sender = Sender()
    store = opened(make_url(url))
    Projects(store).remember(sender.key)
    settings = {"database_url": url, "webhook_secret": ROOT_SECRET}
    with BackendProcess(tmp_path / "data", settings=settings) as backend:

        def asked(path: str) -> requests.Response:
            return requests.get(f"{backend.url}{path}", headers={"Accept": "application/json"}, timeout=10)

        assert sender.send(backend.url, sender.annotated(1, 101, 1)).status_code == 201
        first = click_on(backend)
        until(lambda: Annotations(store).count().get(str(sender.key)) == {"accepted": 1}, 30, "collecting")
        stopping_postgresql.stop()
        try:
            refused = sender.send(backend.url, sender.annotated(2, 102, 2))
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert "the database server can't be had now" in refused.json()["error"]
            meanwhile = click_on(backend)
            assert meanwhile.status_code == 200
            assert meanwhile.json()["results"][0]["result"], "nobody who clicks waits for the database"
            until(
                lambda: set(asked("/health/ready").json().get("lacking", ())) == {"inbox", "store"}, 30, "saying so"
            )
            status = asked("/status")
            assert status.status_code == 200
            assert "the database server can't be had now" in status.json()["unread"][0]
            assert [asked(path).status_code for path in ("/health", "/health/live", "/metrics")] == [200] * 3
        finally:
            stopping_postgresql.ensure_postgres_running()
        assert str(stopping_postgresql.get_uri(driver="psycopg")) == url
        until(lambda: asked("/health/ready").status_code == 200, 30, "being ready")
        assert sender.send(backend.url, sender.annotated(3, 103, 3)).status_code == 201
        until(lambda: Annotations(store).count().get(str(sender.key)) == {"accepted": 2}, 30, "collecting again")
        ids = [region["id"] for answer in (first, meanwhile) for region in answer.json()["results"][0]["result"]]
        until(lambda: set(PredictionLog(store).find(ids)) == set(ids), 30, "logging what was answered")
        until(lambda: [key for key, _ in Projects(store).sync_wanted()] == [str(sender.key)], 30, "wanting a sync")
        assert asked("/status").json()["unread"] == []
        assert "Traceback" not in backend.log
