"""kill -9 of worker and service at random moments: every job is done exactly once, and none is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from ls_server import free_port
from sqlalchemy import Engine, text

from xsam_backend.learning.worker_places import places
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.jobs import Job, Jobs
from xsam_backend.store.projects import ProjectKey, Projects

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
KILLS = 20
KEY = ProjectKey("local", 21, 1795347497)
PRESS = {"action": "START_TRAINING", "project": {"id": 21, "created_at": "2026-11-22T11:38:17.732496Z"}}


class Queue:
    """The data folder's queue, and what the database itself has seen of jobs that ended."""

    def __init__(self, data_dir: Path) -> None:
        self.engine: Engine = open_database(database_url("store", data_dir), "store")
        self.data_dir = data_dir
        self.jobs = Jobs(self.engine, tries=1000)
        with self.engine.begin() as connection:
            connection.execute(text("CREATE TABLE ends (job INTEGER, state TEXT)"))
            connection.execute(
                text(
                    "CREATE TRIGGER ended AFTER UPDATE OF state ON jobs WHEN NEW.state NOT IN ('queued', 'running') "
                    "BEGIN INSERT INTO ends VALUES (NEW.id, NEW.state); END"
                )
            )

    @property
    def ends(self) -> list[tuple[int, str]]:
        with self.engine.connect() as connection:
            return [(number, state) for number, state in connection.execute(text("SELECT job, state FROM ends"))]

    @property
    def running(self) -> Job | None:
        return next((job for job in self.jobs.latest() if job.state == "running"), None)

    @property
    def are_over(self) -> bool:
        return all(job.is_over for job in self.jobs.latest())

    def counted(self, job_id: int) -> list[int]:
        return [int(line) for line in (self.data_dir / "counted" / str(job_id)).read_text().split()]


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue(tmp_path / "data")
    yield made
    made.engine.dispose()


def until(condition: Callable[[], object], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.05)


@contextmanager
def serving(data_dir: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A service whose workers count: its address and process, killed at the end. Workers outlive it."""
    port = free_port()
    command = [sys.executable, str(HERE / "serve_counting.py"), str(port), str(data_dir)]
    with (data_dir / "service.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def kill_worker(process_id: int) -> None:
    """If it's still there, and no stranger of the same number."""
    with suppress(FileNotFoundError, ProcessLookupError):
        if b"work_fake.py" in Path(f"/proc/{process_id}/cmdline").read_bytes():
            os.kill(process_id, signal.SIGKILL)


def is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except requests.RequestException:
        return False


def test_a_worker_killed_at_random_moments_loses_nothing(queue: Queue) -> None:
    moments = random.Random(7)
    for number in range(3):
        queue.jobs.queue(f"local/{number}.1", "button")
    command = [sys.executable, str(HERE / "work_fake.py"), str(queue.data_dir), "60", "0.05", "once"]
    kills = 0
    while not queue.are_over:
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            if kills < KILLS:
                before = queue.jobs.latest()
                with suppress(AssertionError):  # it may also be killed before it has claimed anything
                    until(lambda before=before: queue.jobs.latest() != before, moments.uniform(0.5, 20))
                time.sleep(moments.uniform(0, 0.5))
                if process.poll() is None:
                    process.kill()
                    kills += 1
            process.wait(300)
    assert kills > 5, "it was never in danger"
    assert sorted(queue.ends) == [(1, "done"), (2, "done"), (3, "done")]
    for job in queue.jobs.latest():
        assert job.result == {"counted": 60}
        assert queue.counted(job.id) == list(range(60)), "each try went on where the one before was killed"
    assert sum(job.tries for job in queue.jobs.latest()) > 3


def test_service_and_worker_killed_at_random_moments_lose_no_press(queue: Queue) -> None:
    """Either of them, or both. Each press that was acknowledged is a job that is done, once."""
    moments = random.Random(11)
    Projects(queue.engine).remember(KEY)
    promised: set[int] = set()
    kills = 0
    while kills < KILLS // 2:
        with serving(queue.data_dir) as (url, _):
            until(lambda url=url: is_up(url))
            promised.add(int(requests.post(f"{url}/webhook", json=PRESS, timeout=30).json()["job"]))
            time.sleep(moments.uniform(0, 2.5))
            running = queue.running
            if running is not None and running.pid and moments.random() < 0.6:
                kill_worker(running.pid)
                time.sleep(moments.uniform(0, 1))
        kills += 1
    with serving(queue.data_dir):
        until(lambda: queue.are_over)
        until(lambda: all(places(queue.data_dir / "jobs").values()))
    over = queue.ends
    assert len(over) == len({number for number, _ in over}), "none ended twice"
    assert {state for _, state in over} == {"done"}
    assert promised <= {number for number, _ in over}
    for number in promised:
        assert sorted(set(queue.counted(number))) == list(range(40))


def test_a_worker_outlives_its_service_and_is_found_by_the_next(queue: Queue) -> None:
    Projects(queue.engine).remember(KEY)
    with serving(queue.data_dir) as (url, _):
        until(lambda: is_up(url))
        requests.post(f"{url}/webhook", json=PRESS, timeout=30)
        until(lambda: queue.running)
        first = queue.running
    assert first is not None
    with serving(queue.data_dir) as (url, _):
        until(lambda: is_up(url))
        until(lambda: queue.are_over)
    (job,) = queue.jobs.latest()
    assert (job.state, job.tries, job.pid) == ("done", 1, first.pid), "nobody else had it"
    assert queue.counted(1) == list(range(40))
