"""Two runs of one name at once: the second is refused, on files as on PostgreSQL; a killed one holds nobody up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from time import sleep

import pytest
from sqlalchemy import URL, Engine, make_url, text

from xsam_backend.errors import JobError, StoreError
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.only_run import only_run

NAME = "prelabel of project here/1.2"

HOLDER = """
import sys
from pathlib import Path
from sqlalchemy import make_url
from xsam_backend.store.database import open_database
from xsam_backend.store.only_run import only_run

with only_run(open_database(make_url(sys.argv[1]), "store"), Path(sys.argv[2]), sys.argv[3]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    if request.param == "sqlite":
        return database_url("store", tmp_path)
    return make_url(request.getfixturevalue("postgresql_database"))


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    engine = open_database(url, "store")
    yield engine
    engine.dispose()


@pytest.fixture
def running(engine: Engine, tmp_path: Path) -> Callable[[str], AbstractContextManager[None]]:
    """``with running(name):`` is such a run."""
    return lambda name: only_run(engine, tmp_path, name)


def test_a_second_one_is_refused_until_the_first_has_ended(
    running: Callable[[str], AbstractContextManager[None]],
) -> None:
    for _ in range(2):
        with running(NAME):
            with (
                pytest.raises(JobError, match=f"another {NAME} is under way on .*wait until it has ended"),
                running(NAME),
            ):
                raise AssertionError("both run")
            with running("prelabel of project here/3.4"):
                pass
    with pytest.raises(ZeroDivisionError), running(NAME):
        raise ZeroDivisionError
    with running(NAME):
        pass


def test_another_process_is_refused_and_a_killed_one_holds_nobody_up(
    running: Callable[[str], AbstractContextManager[None]], url: URL, tmp_path: Path
) -> None:
    call = [sys.executable, "-c", HOLDER, url.render_as_string(hide_password=False), str(tmp_path), NAME]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(JobError, match="is under way"), running(NAME):
            raise AssertionError("both run")
        holder.kill()
    until_free(running)


def until_free(running: Callable[[str], AbstractContextManager[None]]) -> None:
    """A server needs a moment to see that a session is gone."""
    for _ in range(100):
        try:
            with running(NAME):
                return
        except JobError:
            sleep(0.1)
    raise AssertionError("it is held for ever")


def test_a_database_that_is_gone_meanwhile_costs_no_run_its_end(postgresql_database: str, tmp_path: Path) -> None:
    """What is done is done: the lock is let go by the server."""
    engine, other = (open_database(make_url(postgresql_database), "store") for _ in range(2))
    with only_run(engine, tmp_path, NAME), other.connect() as connection:
        ended = text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert connection.scalar(ended) == 1
    until_free(lambda name: only_run(other, tmp_path, name))
    for one in (engine, other):
        one.dispose()


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    engine = open_database(database_url("store", tmp_path), "store")
    with pytest.raises(StoreError, match=r"cannot open .*none/run-.*lock"), only_run(engine, tmp_path / "none", NAME):
        raise AssertionError("it runs")
    engine.dispose()
