"""One run of a kind at a time: a lock in the database where services share one, else on a file of the data folder.

It is let go with the process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from xsam_backend.errors import JobError, StoreError
from xsam_backend.store.database import store_error

_FAMILY = 7264022
"""First half of our advisory locks' numbers; the second is made of the run's name."""

_GONE_AFTER = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
"""Seconds, seconds and times until PostgreSQL lets go of the lock of a machine that says nothing any more; of itself
it waits for two hours."""


@contextmanager
def only_run(engine: Engine, data_dir: Path, name: str) -> Iterator[None]:
    """For the length of the block, nobody else runs what has this name, on this database or in this data folder.

    Args:
        engine: the store's.
        name: of the run, such as "prelabel of project here/1.2".

    Raises:
        JobError: somebody does.
        StoreError: the lock can't be asked for.
    """
    with _in_database(engine, name) if engine.dialect.name == "postgresql" else _in_folder(data_dir, name):
        yield


@contextmanager
def _in_database(engine: Engine, name: str) -> Iterator[None]:
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except SQLAlchemyError as error:
        raise store_error(f"cannot lock the {name}", error) from error
    with connection:
        connection.detach()  # closing it ends the session, and with it the lock
        if not _is_locked(connection, name):
            raise _taken(name, "this database")
        yield


def _is_locked(connection: Connection, name: str) -> bool:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big", signed=True)
    try:
        for setting, value in _GONE_AFTER.items():
            connection.exec_driver_sql(f"SET {setting} = {value}")
        lock = text("SELECT pg_try_advisory_lock(:family, :number)")
        return bool(connection.scalar(lock, {"family": _FAMILY, "number": number}))
    except SQLAlchemyError as error:
        raise store_error(f"cannot lock the {name}", error) from error


@contextmanager
def _in_folder(data_dir: Path, name: str) -> Iterator[None]:
    path = data_dir / f"run-{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(f"cannot open {path}: {error}; check that the folder exists and may be written") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _taken(name, str(data_dir)) from error
        yield
    finally:
        os.close(handle)


def _taken(name: str, where: str) -> JobError:
    return JobError(
        f"another {name} is under way on {where}: expected one at a time, so that nothing is done twice; wait until "
        "it has ended or stop it, then the same command goes on with what is left"
    )
