import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from alembic import command
from sqlalchemy import Engine, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.schema import CreateTable

from xsam_backend.errors import NothingKeptError, StoreBusyError, StoreError
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.bulk_tasks import BulkTasks
from xsam_backend.store.database import (
    HISTORIES,
    History,
    alembic_config,
    database_url,
    migrate,
    open_database,
    opened_store,
    store_error,
)
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.inbox_reading import InboxReader
from xsam_backend.store.jobs import Jobs
from xsam_backend.store.pre_labels import PreLabels
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import Projects
from xsam_backend.store.tables import InboxTables, StoreTables
from xsam_backend.store.tasks import Tasks
from xsam_backend.store.versions import Versions

Open = Callable[..., Engine]
FAMILIES = pytest.mark.parametrize("history", ["store", "inbox"])


@FAMILIES
def test_migrations_and_tables_agree(opened: Open, history: History) -> None:
    engine = opened(history)
    with engine.begin() as connection:
        config = alembic_config(history)
        config.attributes["connection"] = connection
        command.check(config)


@FAMILIES
def test_migrations_can_be_taken_back_and_run_again(opened: Open, history: History) -> None:
    engine = opened(history)
    before = set(inspect(engine).get_table_names())
    with engine.begin() as connection:
        config = alembic_config(history)
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert set(inspect(engine).get_table_names()) - {"sqlite_sequence"} == {f"alembic_version_{history}"}
    migrate(engine, history)
    assert set(inspect(engine).get_table_names()) == before


def test_both_families_can_share_one_database(tmp_path: Path, opened: Open) -> None:
    """As they do on PostgreSQL."""
    url = database_url("store", tmp_path)
    opened("store", url)
    engine = opened("inbox", url)
    names = set(inspect(engine).get_table_names())
    assert {"projects", "predictions", "inbox_events"} <= names


def test_opening_again_keeps_what_is_there(opened: Open) -> None:
    with opened("store").begin() as connection:
        connection.exec_driver_sql("INSERT INTO projects (key, updated_at) VALUES ('a/1.2', '2026-01-01 00:00:00')")
    with opened("store").connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM projects").scalar() == 1


def test_a_newer_database_is_refused_with_a_way_out(opened: Open) -> None:
    with opened("store").begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version_store SET version_num = 'store_9999'")
    with pytest.raises(StoreError, match=r"written by a newer version: update this package"):
        opened("store")


FOR_LOOKING = pytest.mark.parametrize("folder", [".", "never/made"])


@FOR_LOOKING
def test_whoever_only_looks_makes_nothing(tmp_path: Path, folder: str) -> None:
    """Somebody mistyped the folder: a new, empty one would look as if all was lost."""
    with pytest.raises(NothingKeptError, match=r"nothing is kept at .*--data-dir"), looking(tmp_path / folder):
        pass
    assert {path.name for path in tmp_path.iterdir()} <= {"in-use.lock"}


def test_whoever_only_looks_finds_what_is_kept(tmp_path: Path) -> None:
    with opened_store(tmp_path, None) as engine:
        Jobs(engine).queue("local/1.1", "button")
    with looking(tmp_path) as engine:
        assert len(Jobs(engine).latest()) == 1


@pytest.mark.parametrize(
    ("revision", "words"),
    [("store_0001", "its tables are at store_0001, this version works with"), ("store_9999", "by a newer version")],
)
def test_whoever_only_looks_migrates_nothing(tmp_path: Path, revision: str, words: str) -> None:
    """After a downgrade the older version is to be installed; a look of the newer one must not undo it."""
    with opened_store(tmp_path, None) as engine, engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version_store SET version_num = '{revision}'")
    before = (tmp_path / "store.sqlite3").read_bytes()
    with pytest.raises(StoreError, match=words), looking(tmp_path):
        pass
    assert (tmp_path / "store.sqlite3").read_bytes() == before


def looking(folder: Path) -> AbstractContextManager[Engine]:
    return opened_store(folder, None, must_exist=True)


def test_a_full_disk_is_said_and_may_pass(tmp_path: Path) -> None:
    """SQLite itself says it, of a file that may grow no more."""
    with opened_store(tmp_path, None) as engine:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1")  # at least what there is
            connection.commit()
        with pytest.raises(StoreBusyError, match="disk is full: make room"):
            Jobs(engine).queue("x" * 10**6, "button")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot open the store database .*may be written"):
        open_database(database_url("store", tmp_path / "file"), "store")


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "inbox.sqlite3").write_text("hello" * 1000)
    with pytest.raises(StoreError, match=r"not a database"):
        open_database(database_url("inbox", tmp_path), "inbox")


def test_a_bad_url_is_said_without_its_password() -> None:
    with pytest.raises(StoreError, match=r"expected a URL like postgresql") as error:
        database_url("store", Path("."), "user:hunter2 at host")
    assert "hunter2" not in str(error.value)


def test_tables_can_be_made_on_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    tables = [*StoreTables.metadata.sorted_tables, *InboxTables.metadata.sorted_tables]
    sql = {table.name: str(CreateTable(table).compile(dialect=dialect)) for table in tables}
    assert "id BIGSERIAL" in sql["inbox_events"]
    assert "BYTEA" in sql["predictions"]
    assert "TIMESTAMP WITH TIME ZONE" in sql["projects"]


def connection_lost() -> DBAPIError:
    error = DBAPIError("SELECT", None, psycopg.Error("consuming input failed"))
    error.connection_invalidated = True
    return error


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (OperationalError("S", None, sqlite3.OperationalError("database is locked")), True),
        (OperationalError("S", None, sqlite3.OperationalError("database or disk is full")), True),
        (OperationalError("S", None, sqlite3.OperationalError("no such table: projects")), False),
        (OperationalError("S", None, psycopg.OperationalError("connection refused")), True),
        (OperationalError("S", None, psycopg.errors.AdminShutdown("terminating connection")), True),
        (OperationalError("S", None, psycopg.errors.CannotConnectNow("the database system is starting up")), True),
        (ProgrammingError("S", None, psycopg.errors.UndefinedTable("no such table")), False),
        (IntegrityError("S", None, psycopg.errors.UniqueViolation("there is one")), False),
        (connection_lost(), True),
        (PoolTimeoutError("QueuePool limit reached"), True),
    ],
    ids=lambda value: str(getattr(value, "orig", value))[:40],
)
def test_what_may_pass_is_told_from_what_stays(error: SQLAlchemyError, may_pass: bool) -> None:
    found = store_error("cannot read the projects", error)
    assert isinstance(found, StoreBusyError) is may_pass
    assert str(found).startswith("cannot read the projects: ")
    assert "SELECT" not in str(found)


def test_everything_that_reads_or_writes_has_words_for_it(tmp_path: Path) -> None:
    """Also whatever only reads: the threads beside the requests, and pages, know no error of SQLAlchemy's."""
    engines: dict[History, Engine] = {
        history: open_database(database_url(history, tmp_path), history) for history in HISTORIES
    }
    store, inbox = engines["store"], Inbox(engines["inbox"])
    reader = InboxReader(inbox, store, "r")
    reads: list[Callable[[], object]] = [
        inbox.after,
        inbox.count,
        lambda: list(reader.unread()),
        lambda: InboxReader(inbox, store, "s"),
        Projects(store).all,
        Projects(store).sync_wanted,
        lambda: Projects(store).of("a/1.2"),
        PredictionLog(store).count,
        lambda: PredictionLog(store).find(["r"]),
        lambda: PredictionLog(store).batch_of_task("a/1.2", 3),
        lambda: PreLabels(store).of_project("a/1.2"),
        Annotations(store).count,
        lambda: list(Annotations(store).of_tasks("a/1.2")),
        lambda: Annotations(store).changed_at("a/1.2"),
        Tasks(store).count_lacking,
        Tasks(store).lacking,
        lambda: Tasks(store).of_project("a/1.2"),
        Versions(store).all,
        Versions(store).deployed,
        lambda: Versions(store).history("a/1.2"),
        Jobs(store).latest,
        BulkTasks(store).progress,
    ]
    for engine in engines.values():
        with engine.begin() as connection:
            for table in inspect(engine).get_table_names():
                connection.exec_driver_sql(f"DROP TABLE {table}")
    for read in reads:
        with pytest.raises(StoreError, match="no such table"):
            read()
    for engine in engines.values():
        engine.dispose()
