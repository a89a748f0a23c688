"""Opening a database: connection settings, then migrations up to the newest.

SQLite runs in WAL mode: readers never block the writer. ``synchronous`` differs on purpose. The inbox is FULL:
every commit is flushed to the disk, so an acknowledged event survives power loss; nobody would send it again. The
rest is NORMAL: after a kill nothing is missing, after power loss the last moments of the prediction log may be, which
only makes a few later annotations look hand-made; in exchange a click doesn't wait for the disk.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, get_args

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import URL, Engine, create_engine, delete, event, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from xsam_backend.errors import NothingKeptError, StoreBusyError, StoreError
from xsam_backend.store.data_folder import held

logger = logging.getLogger(__name__)

History = Literal["store", "inbox"]
"""The two families of tables, each with its own line of migrations."""

HISTORIES: tuple[History, ...] = get_args(History)
"""The store first: it knows how far the inbox was read."""

VERSION_TABLES: dict[History, str] = {history: f"alembic_version_{history}" for history in HISTORIES}

_BUSY_MS = 5000
"""Longer than Label Studio waits for a webhook: it doesn't send again, so late is better than never."""

_PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "xsam-backend",
}
"""Of PostgreSQL's driver (libpq), unless the URL says otherwise: seconds, times and milliseconds until a server that
says nothing counts as gone. Its own waits are of minutes, and a click would wait as long. At last, the name by which
others find us; see ``others_connected``."""

_SYNCHRONOUS: dict[History, str] = {"store": "NORMAL", "inbox": "FULL"}
_MIGRATIONS = Path(__file__).parent / "migrations"


def database_url(history: History, data_dir: Path, shared_url: str | None = None) -> URL:
    """``shared_url`` where given, else a SQLite file named after the family below ``data_dir``.

    Raises:
        StoreError: the shared URL cannot be read.
    """
    if shared_url is None:
        return URL.create("sqlite", database=str(data_dir / f"{history}.sqlite3"))
    try:
        return make_url(shared_url)
    except ArgumentError:
        raise StoreError(
            "database_url: expected a URL like postgresql+psycopg://user:password@host/name, got something else"
        ) from None


def open_database(url: URL, history: History, busy_ms: int = _BUSY_MS, *, must_exist: bool = False) -> Engine:
    """An engine on ``url`` whose tables of ``history`` are migrated to the newest revision.

    Args:
        busy_ms: so long a write waits for another process's, on SQLite.
        must_exist: neither make tables nor migrate them.

    Raises:
        StoreError: the folder cannot be written, the server cannot be reached, the database is damaged, or it is from
            a newer version of this package; with ``must_exist`` also from an older one. Nothing was changed then.
        NothingKeptError: with ``must_exist``: there is none.
    """
    try:
        if must_exist and url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
            raise _nothing_kept(url)
        if url.get_backend_name() == "sqlite" and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        if url.get_driver_name() in ("psycopg", "psycopg2"):
            url = url.update_query_dict({**_PATIENCE, **url.query})
        # Errors end up in the log and on the status page; what was to be written is nobody's business there.
        engine = create_engine(url, pool_pre_ping=url.get_backend_name() != "sqlite", hide_parameters=True)
        if engine.dialect.name == "sqlite":
            _set_pragmas(engine, history, busy_ms)
        try:
            if must_exist:
                _expect_newest(engine, history)
            else:
                migrate(engine, history)
        except BaseException:
            engine.dispose()
            raise
    except CommandError as error:
        raise _too_new(url, history, str(error)) from error
    except (OSError, SQLAlchemyError, ModuleNotFoundError) as error:
        if is_damage(error) and url.database:
            raise damaged(Path(url.database), str(getattr(error, "orig", error))) from error
        raise StoreError(
            f"cannot open the {history} database {url.set(query={}).render_as_string()}: {error}; "
            "check that the folder or server exists and may be written"
        ) from error
    return engine


def _nothing_kept(url: URL) -> NothingKeptError:
    return NothingKeptError(
        f"nothing is kept at {url.set(query={}).render_as_string()}: expected what a service has made; give its "
        "folder with --data-dir (or its database with XSAM_BACKEND_DATABASE_URL), or start one: `xsam-backend serve`"
    )


def _too_new(url: URL, history: History, found: str) -> StoreError:
    return StoreError(
        f"{url.render_as_string()}: its revision is unknown here ({found}); it was written by a newer version: "
        "update this package, or let the newer version run "
        f"`xsam-backend store downgrade {newest_revision(history)} --yes`, or restore a backup from before it"
    )


def _expect_newest(engine: Engine, history: History) -> None:
    """Raises StoreError: there are no tables, or they are another version's."""
    revision = revision_of(engine, history)
    if revision is None:
        raise _nothing_kept(engine.url)
    if revision not in known_revisions(history):
        raise _too_new(engine.url, history, str(revision))
    if revision != (newest := newest_revision(history)):
        raise StoreError(
            f"{engine.url.set(query={}).render_as_string()}: its tables are at {revision}, this version works with "
            f"{newest}: start the service, which brings them there, or run the older version that they are for"
        )


def store_error(words: str, error: SQLAlchemyError) -> StoreError:
    """What couldn't be done, and the database's own reason, without the statement: it would repeat whole rows."""
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    if "database is locked" in reason:
        return StoreBusyError(f"{words}: {reason}: another process holds it; try again in a moment")
    if _is_outage(error):
        return StoreBusyError(f"{words}: the database server can't be had now ({reason}); try again in a moment")
    if "disk is full" in reason:
        return StoreBusyError(
            f"{words}: {reason}: make room on the disk of the data folder; nothing else has to be done"
        )
    if is_damage(error):
        reason += "; stop the service and look at docs/operate.md, A damaged database"
    return StoreError(f"{words}: {reason}")


def _is_outage(error: SQLAlchemyError) -> bool:
    """Whether a database server was gone, starting, ending or overcrowded, or every connection to it was in use. What
    SQLite calls operational is mostly about its file, and stays."""
    if isinstance(getattr(error, "orig", None), sqlite3.Error):
        return False
    return isinstance(error, (OperationalError, InterfaceError, PoolTimeoutError)) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def is_damage(error: Exception) -> bool:
    """Whether SQLite has found its file to be none of its own, or broken."""
    return any(words in str(error) for words in ("file is not a database", "malformed"))


def damaged(path: Path, reason: str) -> StoreError:
    """The error for a database file that can't be used any more."""
    return StoreError(
        f"{path} is damaged ({' '.join(reason.split())}); it was left as it is. Stop every service "
        "of this folder, then put the last backup back: `xsam-backend store restore BACKUP --replace` moves the "
        "damaged one aside"
    )


@contextmanager
def transaction(engine: Engine, where: str) -> Iterator[Session]:
    """One transaction; its rows can still be read after it.

    Args:
        where: what is read or written, for messages.

    Raises:
        StoreBusyError: the database is held, or its server can't be had; the same may succeed later.
        StoreError: it cannot be read or written.
    """
    try:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
    except SQLAlchemyError as error:
        raise store_error(f"cannot read or write {where}", error) from error


def prune_rows(engine: Engine, where: str, key: Any, old: tuple[Any, ...], *, only_count: bool) -> int:
    """Delete rows, a thousand a transaction, so that nobody waits long for it; how many they are.

    Args:
        where: as for ``transaction``.
        key: the column that names a row.
        old: conditions of the rows.
        only_count: and leave them.

    Raises:
        StoreError: as ``transaction`` does.
    """
    if only_count:
        with transaction(engine, where) as session:
            return session.scalar(select(func.count()).select_from(select(key).where(*old).subquery())) or 0
    pruned = 0
    while True:
        with transaction(engine, where) as session:
            chunk = session.scalars(select(key).where(*old).limit(1000)).all()
        if not chunk:
            return pruned
        for start in range(0, len(chunk), 500):  # databases limit the length of an IN list
            with transaction(engine, where) as session:
                session.execute(delete(key.class_).where(key.in_(chunk[start : start + 500])))
        pruned += len(chunk)


@contextmanager
def opened_store(data_dir: Path, shared_url: str | None, *, must_exist: bool = False) -> Iterator[Engine]:
    """The store's database, closed at the end. Nobody restores into the data folder meanwhile.

    Args:
        must_exist: for those who look at what a service keeps: nothing is made, and nothing is migrated.

    Raises:
        StoreError: see ``database_url``, ``open_database`` and ``data_folder.Hold``.
        NothingKeptError: with ``must_exist``: there is none.
    """
    url = database_url("store", data_dir, shared_url)
    if must_exist and not shared_url and not data_dir.is_dir():
        raise _nothing_kept(url)
    with nullcontext() if shared_url else held(data_dir):
        engine = open_database(url, "store", must_exist=must_exist)
        try:
            yield engine
        finally:
            engine.dispose()


def _set_pragmas(engine: Engine, history: History, busy_ms: int) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={busy_ms}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={_SYNCHRONOUS[history]}")
        cursor.close()


def alembic_config(history: History) -> Config:
    """Alembic's settings for one family, without a file of its own."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS / history).replace("%", "%%"))
    return config


def known_revisions(history: History) -> set[str]:
    """Revisions of a family's tables that this version of the package can bring up to date."""
    return {script.revision for script in ScriptDirectory.from_config(alembic_config(history)).walk_revisions()}


def newest_revision(history: History) -> str:
    """The revision that this version of the package works with."""
    return str(ScriptDirectory.from_config(alembic_config(history)).get_current_head())


def revision_of(engine: Engine, history: History) -> str | None:
    """The revision of a family's tables; None: there are none yet."""
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLES[history]}
        return MigrationContext.configure(connection, opts=options).get_current_revision()


def migrate(engine: Engine, history: History) -> None:
    """Bring the tables of ``history`` to the newest revision. Runs every time a database is opened; only reads when
    there is nothing to do. All or nothing: whoever is killed meanwhile leaves the tables as they were."""
    before, newest = revision_of(engine, history), newest_revision(history)
    if before != newest:
        with _changing(engine, history) as config:
            command.upgrade(config, "head")
        if before is not None:
            logger.info("the %s tables are brought from %s to %s", history, before, newest)


def downgrade(engine: Engine, history: History, revision: str) -> None:
    """Take the tables of ``history`` back to an earlier revision, for an older version of this package. What only
    newer revisions have room for is dropped. All or nothing.

    Raises:
        StoreError: there is no such revision, or the tables can't be changed.
    """
    if revision not in known_revisions(history):
        raise StoreError(
            f"no revision '{revision}' of the {history} tables: expected one of "
            f"{', '.join(sorted(known_revisions(history)))}"
        )
    try:
        with _changing(engine, history) as config:
            command.downgrade(config, revision)
    except (CommandError, SQLAlchemyError) as error:
        raise StoreError(f"cannot take the {history} tables back to {revision}: {error}") from error


def newer_than(engine: Engine, history: History, revision: str) -> list[str]:
    """What only tables newer than a known revision hold, the newest first: a revision and its words each."""
    scripts = ScriptDirectory.from_config(alembic_config(history))
    return [
        f"{script.revision}: {' '.join(str(script.doc).split())}"
        for script in scripts.iterate_revisions(revision_of(engine, history) or revision, revision)
    ]


def others_connected(engine: Engine) -> list[str]:
    """Where programs of ours are that are connected to a PostgreSQL database, this connection apart: services,
    workers, commands. A service always is, for it looks after its database every few seconds. None of SQLite's files,
    which have a lock of their own (``data_folder.Hold``).

    Raises:
        StoreError: the server can't be asked.
    """
    if engine.dialect.name != "postgresql":
        return []
    with transaction(engine, "who is connected") as session:
        found = session.execute(
            text(
                "SELECT DISTINCT coalesce(host(client_addr), 'its own machine') FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = current_setting('application_name') "
                "AND pid <> pg_backend_pid() ORDER BY 1"
            )
        )
        return list(found.scalars())


@contextmanager
def _changing(engine: Engine, history: History) -> Iterator[Config]:
    """Alembic's settings inside one transaction, in which no other process changes the tables."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # several services may start at once
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7264021)")
        else:  # left to itself, Python's sqlite3 begins none for changes of tables
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config = alembic_config(history)
        config.attributes["connection"] = connection
        yield config
