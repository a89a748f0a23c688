"""From the first schema to today's and back, with rows in the tables; whoever is killed on the way has lost nothing.

``first_schemas`` has both families as they first came into the world, written down once and never changed.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, create_engine

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


def filled_to(path: Path, history: History, revision: str) -> dict[str, int]:
    """A database at a revision with a row in each of its tables; the tables."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = alembic_config(history)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    with closing(sqlite3.connect(path)) as database:
        for table in tables(database):
            columns = database.execute(f"PRAGMA table_info({table})").fetchall()
            values = [value_of(str(kind)) for _, _, kind, *_ in columns]
            database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
        database.commit()
        return dict.fromkeys(tables(database), 1)


def value_of(kind: str) -> Any:
    if kind.startswith(("INT", "BIGINT", "BOOL")):
        return 1
    if kind.startswith("FLOAT"):
        return 0.25
    if kind.startswith("DATE"):
        return "2026-01-02 03:04:05.000006"
    return b"x" if kind.startswith("BLOB") else "x"


def tables(database: sqlite3.Connection) -> list[str]:
    rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in rows if not name.startswith(("alembic", "sqlite"))]


def contents(path: Path) -> dict[str, tuple[list[str], list[Any]]]:
    """Each table's columns and rows."""
    with closing(sqlite3.connect(path)) as database:
        return {
            table: (
                [column[1] for column in database.execute(f"PRAGMA table_info({table})")],
                database.execute(f"SELECT * FROM {table}").fetchall(),
            )
            for table in tables(database)
        }


@pytest.mark.parametrize(("history", "revision"), REVISIONS)
def test_rows_of_each_revision_survive_the_way_up_and_back(tmp_path: Path, history: History, revision: str) -> None:
    path = tmp_path / f"{history}.sqlite3"
    filled_to(path, history, revision)
    before = contents(path)
    engine = open_database(database_url(history, tmp_path), history)
    assert revision_of(engine, history) == newest_revision(history)
    upgraded = contents(path)
    for table, (columns, rows) in before.items():
        now_columns, now_rows = upgraded[table]
        assert len(now_rows) == len(rows) == 1
        now = dict(zip(now_columns, now_rows[0], strict=True))
        assert {column: now[column] for column in columns} == dict(zip(columns, rows[0], strict=True)), table
    downgrade(engine, history, revision)
    engine.dispose()
    assert contents(path) == before


def test_an_older_program_says_what_the_newer_one_must_run(tmp_path: Path) -> None:
    engine = open_database(database_url("store", tmp_path), "store")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version_store SET version_num = 'store_9999'")
    engine.dispose()
    before = contents(tmp_path / "store.sqlite3")
    with pytest.raises(
        StoreError, match=rf"newer version .*`xsam-backend store downgrade {newest_revision('store')}`"
    ):
        open_database(database_url("store", tmp_path), "store")
    assert contents(tmp_path / "store.sqlite3") == before


def test_a_revision_that_is_none_is_refused_with_those_that_are(tmp_path: Path) -> None:
    engine = open_database(database_url("inbox", tmp_path), "inbox")
    with pytest.raises(StoreError, match="no revision 'store_0001' of the inbox tables: expected one of inbox_0001"):
        downgrade(engine, "inbox", "store_0001")
    engine.dispose()


KILLED = """
import os, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from xsam_backend.store.database import database_url, open_database

left = int(sys.argv[2])

@event.listens_for(Engine, "after_cursor_execute")
def count(conn, cursor, statement, *_):
    global left
    if statement.lstrip().upper().startswith(("CREATE", "ALTER", "DROP", "UPDATE", "INSERT")):
        left -= 1
        if left == 0:
            os._exit(9)

open_database(database_url("store", Path(sys.argv[1])), "store").dispose()
"""


@pytest.mark.parametrize("statements", [1, 2, 5, 9, 14])
def test_killed_in_an_upgrade_the_tables_are_as_before(tmp_path: Path, statements: int) -> None:
    write_first(tmp_path, "store")
    before = contents(tmp_path / "store.sqlite3")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(statements)], check=False)
    assert done.returncode == 9
    assert contents(tmp_path / "store.sqlite3") == before
    engine = open_database(database_url("store", tmp_path), "store")
    assert [project.title for project in Projects(engine).all()] == ["cells"]
    engine.dispose()


def test_several_that_start_at_once_upgrade_once(tmp_path: Path) -> None:
    write_first(tmp_path, "store")
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: open_database(database_url("store", tmp_path), "store"), range(6)))
    assert {revision_of(engine, "store") for engine in opened} == {newest_revision("store")}
    for engine in opened:
        engine.dispose()
