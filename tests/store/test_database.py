from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from xsam_backend.errors import StoreError
from xsam_backend.store.database import History, alembic_config, database_url, migrate, open_database
from xsam_backend.store.tables import InboxTables, StoreTables

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
