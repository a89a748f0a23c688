"""The store on a real PostgreSQL. Set TEST_POSTGRESQL_URL (postgresql+psycopg://user@host/an_empty_database)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine

from xsam_backend.store.database import History, alembic_config, database_url, open_database
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.predictions import LoggedRegion, PredictionLog
from xsam_backend.store.projects import ProjectKey, Projects

URL = os.environ.get("TEST_POSTGRESQL_URL")
pytestmark = pytest.mark.skipif(URL is None, reason="TEST_POSTGRESQL_URL names no PostgreSQL database")

HISTORIES: tuple[History, ...] = ("store", "inbox")


@pytest.fixture
def engines() -> Iterator[dict[History, Engine]]:
    """Both families in one database, opened by several services at once; emptied afterwards."""
    url = database_url("store", Path(), URL)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda history: (history, open_database(url, history)), HISTORIES * 2))
    engines = dict(opened)
    yield engines
    for history, engine in engines.items():
        with engine.begin() as connection:
            config = alembic_config(history)
            config.attributes["connection"] = connection
            command.downgrade(config, "base")
    for _, engine in opened:
        engine.dispose()


def test_migrations_and_tables_agree(engines: dict[History, Engine]) -> None:
    for history, engine in engines.items():
        with engine.begin() as connection:
            config = alembic_config(history)
            config.attributes["connection"] = connection
            command.check(config)


def test_an_event_is_kept_once_and_a_proof_replaces_a_hint(engines: dict[History, Engine]) -> None:
    inbox = Inbox(engines["inbox"])
    body = {"action": "TASKS_CREATED", "tasks": [{"id": 1, "data": {"x": "\x00é"}}]}
    for verified in (False, True, False):
        inbox.put(body, None, verified=verified)
    (event,) = inbox.after()
    assert (event.verified, event.body) == (True, body)


def test_projects_and_predictions(engines: dict[History, Engine]) -> None:
    projects, log = Projects(engines["store"]), PredictionLog(engines["store"])
    key = ProjectKey("ls:8080", 1, 2)
    projects.remember(key, label_config="<View/>")
    projects.remember(key, title="cells")
    assert [(project.title, project.label_config) for project in projects.all()] == [("cells", "<View/>")]
    region = LoggedRegion(
        region_id="a",
        project_key=str(key),
        task_id="5",
        model_version="v",
        from_name="poly",
        region_type="polygonlabels",
        label="cat",
        score=0.5,
        interactive=True,
        prompt={"task": "intseg"},
        value={"points": [[1.5, 2.5]]},
        image_sha256="f" * 64,
        image_size_hw=(3, 4),
        created_at=datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=timezone.utc),
    )
    log.add([region, replace(region, region_id="b", label=None)])
    assert log.find(["a"]) == {"a": region}
    assert log.count() == {"v": 2}
