"""``bulk``: how far the queue of bulk pre-labelling is, why tasks failed, and its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from xsam_backend.store.bulk_tasks import BulkTasks, Outcome
from xsam_backend.store.database import database_url, open_database

Run = Callable[..., tuple[int, str, str]]
KEY, OTHER = "local/21.1795347497", "local/3.1795347000"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[BulkTasks]:
    """The queue of the default data folder: of one project two failed and one waits, of another two wait."""
    engine = open_database(database_url("store", tmp_path / "data"), "store")
    queue = BulkTasks(engine)
    until = datetime.now(timezone.utc) + timedelta(minutes=1)
    held = queue.reserve(KEY, [7, 8, 9], "v1", until)
    queue.settle(held.holder, {7: Outcome("failed", error="HTTP 404"), 9: Outcome("waiting", until, "HTTP 500")})
    queue.settle(queue.reserve(OTHER, [1, 2], "v1", until).holder, {})
    yield queue
    engine.dispose()


def test_list(run: Run, queue: BulkTasks) -> None:
    assert run("bulk", "list")[:2] == (
        0,
        f"{KEY}  0 of 3 done, 2 waiting, 1 failed\n{OTHER}  0 of 2 done, 2 waiting\n",
    )


def test_show_says_what_failed_and_why(run: Run, queue: BulkTasks) -> None:
    for name in ("21", "21.1795347497", KEY):
        assert run("bulk", "show", name)[:2] == (0, "task 7  failed  HTTP 404\ntask 9  waiting  HTTP 500\n")
    assert run("bulk", "show", "21", "--limit", "1")[1].count("\n") == 1
    assert run("bulk", "show", "3")[:2] == (0, "")


def test_cancel_ends_what_waits_of_one_project(run: Run, queue: BulkTasks) -> None:
    assert run("bulk", "cancel", "21")[:2] == (0, f"project {KEY}: 2 tasks cancelled\n")
    assert queue.count() == {"failed": 1, "cancelled": 2, "waiting": 2}
    task = queue.claim("local", datetime.now(timezone.utc))
    assert task is not None
    assert task.project_key == OTHER


def test_a_project_without_tasks_here_is_said(run: Run, queue: BulkTasks) -> None:
    status, _, error = run("bulk", "cancel", "22")
    assert (status, "project 22: expected the number of one known project" in error) == (1, True)
