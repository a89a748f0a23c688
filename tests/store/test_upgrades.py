"""From the first schema to today's and back, with rows in the tables; whoever is killed on the way has lost nothing.

``first_schemas`` has both families as they first came into the world, written down once and never changed.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import URL, Column, Connection, Engine, MetaData, Table, create_engine, insert

from xsam_backend.errors import StoreError
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.bulk_tasks import BulkTasks
from xsam_backend.store.database import (
    HISTORIES,
    History,
    alembic_config,
    database_url,
    downgrade,
    known_revisions,
    newest_revision,
    open_database,
    revision_of,
)
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.jobs import Jobs
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import ProjectKey, Projects
from xsam_backend.store.versions import Versions

HERE = Path(__file__).parent
FIRST = {history: (HERE / "first_schemas" / f"{history}.sql").read_text("utf-8") for history in HISTORIES}
AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
REVISIONS = [(history, revision) for history in HISTORIES for revision in sorted(known_revisions(history))]


def write_first(folder: Path, history: History) -> None:
    with closing(sqlite3.connect(folder / f"{history}.sqlite3")) as database:
        database.executescript(FIRST[history])


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[dict[History, Engine]]:
    """Both, brought from the first schema to today's."""
    for history in HISTORIES:
        write_first(tmp_path, history)
    opened = {history: open_database(database_url(history, tmp_path), history) for history in HISTORIES}
    yield opened
    for engine in opened.values():
        engine.dispose()


def test_what_was_kept_first_is_read_today(engines: dict[History, Engine]) -> None:
    project = Projects(engines["store"]).of("here/1.2")
    assert project is not None
    assert (project.key, project.title, project.label_config) == ("here/1.2", "cells", "<View/>")
    assert (project.updated_at, project.gone_at) == (AT, None)
    found = PredictionLog(engines["store"]).find(["r1", "r2"])
    assert (found["r1"].label, found["r1"].score, found["r1"].prompt) == ("cat", 0.5, {"task": "intseg"})
    assert found["r1"].value == {"points": [[1.5, 2.5]]}
    assert (found["r2"].project_key, found["r2"].label, found["r2"].created_at.second) == (None, None, 6)
    (event,) = Inbox(engines["inbox"]).after()
    assert (event.id, event.body["tasks"], event.verified) == (7, [{"id": 1}], True)


def test_what_was_kept_first_is_gone_on_with_today(engines: dict[History, Engine]) -> None:
    store = engines["store"]
    key = ProjectKey("here", 1, 2)
    assert Projects(store).knows(key)
    Projects(store).remember(key, title="renamed", as_of=AT)
    assert [project.title for project in Projects(store).all()] == ["renamed"]
    assert Jobs(store).queue(str(key), "button")[1]
    assert (Annotations(store).count(), Versions(store).all()) == ({}, [])
    assert BulkTasks(store).progress() == []
    Inbox(engines["inbox"]).put({"action": "X"}, str(key), verified=True)
    assert [event.id for event in Inbox(engines["inbox"]).after()] == [7, 8], "a reader's place must stay behind it"


@pytest.fixture(params=["sqlite", "postgresql"])
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[History], URL]:
    """Where a family of tables is, or will be: nothing is there yet."""
    if request.param == "sqlite":
        return lambda history: database_url(history, tmp_path)
    shared: str = request.getfixturevalue("postgresql_database")
    return lambda history: database_url(history, tmp_path, shared)


def fill_to(url: URL, history: History, revision: str) -> None:
    """A database at a revision, with a row in each of its tables."""
    engine = create_engine(url)
    with engine.begin() as connection:
        config = alembic_config(history)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for table in tables(connection):
            connection.execute(insert(table).values({one.name: value_of(one) for one in table.columns}))
    engine.dispose()


def value_of(column: Column[Any]) -> Any:
    values = {int: 1, bool: True, float: 0.25, datetime: AT, bytes: b"x", str: "x"}
    return values[column.type.python_type]


def tables(connection: Connection) -> list[Table]:
    """As they are there, but for Alembic's own."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if not table.name.startswith("alembic")]


def contents(url: URL) -> dict[str, tuple[list[str], list[Any]]]:
    """Each table's columns and rows."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            table.name: (
                [column.name for column in table.columns],
                list(map(tuple, connection.execute(table.select()))),
            )
            for table in tables(connection)
        }
    engine.dispose()
    return found


@pytest.mark.parametrize(("history", "revision"), REVISIONS)
def test_rows_of_each_revision_survive_the_way_up_and_back(
    url_of: Callable[[History], URL], history: History, revision: str
) -> None:
    url = url_of(history)
    fill_to(url, history, revision)
    before = contents(url)
    engine = open_database(url, history)
    assert revision_of(engine, history) == newest_revision(history)
    upgraded = contents(url)
    for table, (columns, rows) in before.items():
        now_columns, now_rows = upgraded[table]
        assert len(now_rows) == len(rows) == 1
        now = dict(zip(now_columns, now_rows[0], strict=True))
        assert {column: now[column] for column in columns} == dict(zip(columns, rows[0], strict=True)), table
    downgrade(engine, history, revision)
    engine.dispose()
    assert contents(url) == before


def test_an_older_program_says_what_the_newer_one_must_run(tmp_path: Path) -> None:
    engine = open_database(database_url("store", tmp_path), "store")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version_store SET version_num = 'store_9999'")
    engine.dispose()
    before = contents(database_url("store", tmp_path))
    with pytest.raises(
        StoreError, match=rf"newer version .*`xsam-backend store downgrade {newest_revision('store')} --yes`"
    ):
        open_database(database_url("store", tmp_path), "store")
    assert contents(database_url("store", tmp_path)) == before


def test_a_revision_that_is_none_is_refused_with_those_that_are(tmp_path: Path) -> None:
    engine = open_database(database_url("inbox", tmp_path), "inbox")
    with pytest.raises(StoreError, match="no revision 'store_0001' of the inbox tables: expected one of inbox_0001"):
        downgrade(engine, "inbox", "store_0001")
    engine.dispose()


KILLED = """
import os, sys
from sqlalchemy import event, make_url
from sqlalchemy.engine import Engine
from xsam_backend.store.database import open_database

left = int(sys.argv[2])

@event.listens_for(Engine, "after_cursor_execute")
def count(conn, cursor, statement, *_):
    global left
    if statement.lstrip().upper().startswith(("CREATE", "ALTER", "DROP", "UPDATE", "INSERT")):
        left -= 1
        if left == 0:
            os._exit(9)

open_database(make_url(sys.argv[1]), "store").dispose()
"""


@pytest.mark.parametrize("statements", [1, 2, 5, 9, 14])
def test_killed_in_an_upgrade_the_tables_are_as_before(url_of: Callable[[History], URL], statements: int) -> None:
    url = url_of("store")
    fill_to(url, "store", "store_0001")
    before = contents(url)
    call = [sys.executable, "-c", KILLED, url.render_as_string(hide_password=False), str(statements)]
    assert subprocess.run(call, check=False).returncode == 9
    assert contents(url) == before
    engine = open_database(url, "store")
    assert [project.title for project in Projects(engine).all()] == ["x"]
    engine.dispose()


def test_several_that_start_at_once_upgrade_once(url_of: Callable[[History], URL]) -> None:
    url = url_of("store")
    fill_to(url, "store", "store_0001")
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: open_database(url, "store"), range(6)))
    assert {revision_of(engine, "store") for engine in opened} == {newest_revision("store")}
    for engine in opened:
        engine.dispose()
