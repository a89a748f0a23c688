"""The queue of fine-tunings: one queued job per project, one claim per job, and what becomes of a lost one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.orm import Session

from xsam_backend.errors import JobError, StoreError
from xsam_backend.store.annotations import Annotations, KeptAnnotation
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.jobs import STALE_AFTER, Job, JobLost, Jobs, Worker
from xsam_backend.store.tables import JobRow

PROJECT, OTHER = "local/21.5", "local/22.6"


@pytest.fixture
def engine(opened: Callable[..., Engine]) -> Engine:
    return opened("store")


@pytest.fixture
def jobs(engine: Engine) -> Jobs:
    return Jobs(engine, tries=3)


def worker(place: str = "here/cpu") -> Worker:
    return Worker(place, "here", 4711, datetime(2026, 11, 28, tzinfo=timezone.utc))


def claimed(jobs: Jobs, place: str = "here/cpu") -> Job:
    job = jobs.claim(worker(place))
    assert job is not None
    return job


def grow_old(engine: Engine, job: Job, by: timedelta = 2 * STALE_AFTER) -> None:
    """As if its heart hadn't been beaten for so long."""
    with Session(engine) as session, session.begin():
        session.execute(
            update(JobRow).where(JobRow.id == job.id).values(heartbeat_at=datetime.now(timezone.utc) - by)
        )


def test_presses_are_one_job_until_it_is_claimed(jobs: Jobs) -> None:
    first, is_new = jobs.queue(PROJECT, "button")
    assert is_new
    assert jobs.queue(PROJECT, "schedule") == (first, False)
    assert jobs.queue(OTHER, "button")[1], "another project's is another job"
    assert claimed(jobs).id == first.id
    second, is_new = jobs.queue(PROJECT, "count")
    assert is_new, "what was accepted since the first one began needs a second"
    assert second.id > first.id
    assert jobs.count() == {"queued": 2, "running": 1}


def test_many_presses_at_once_are_one_job(jobs: Jobs) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: jobs.queue(PROJECT, "button"), range(40)))
    assert len({job.id for job, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1


def test_a_claimed_job_says_who_has_it(jobs: Jobs) -> None:
    jobs.queue(PROJECT, "button")
    job = claimed(jobs)
    assert (job.state, job.tries, job.host, job.pid) == ("running", 1, "here", 4711)
    assert job.started_at is not None
    assert job.heartbeat_at is not None
    assert jobs.get(job.id) == job
    assert jobs.claim(worker("there/cpu")) is None, "and nobody else gets it"


def test_threads_never_get_one_job_twice(jobs: Jobs) -> None:
    for number in range(12):
        jobs.queue(f"local/{number}.1", "button")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: jobs.claim(worker(f"place {number}")), range(20)))
    ids = [job.id for job in found if job is not None]
    assert len(ids) == len(set(ids)) == 12


def test_processes_never_get_one_job_twice(jobs: Jobs, tmp_path: Path) -> None:
    for number in range(12):
        jobs.queue(f"local/{number}.1", "button")
    script = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.jobs import Jobs, Worker
jobs = Jobs(open_database(database_url("store", Path(sys.argv[1])), "store"))
sys.stdin.readline()
for number in range(6):
    job = jobs.claim(Worker(f"{sys.argv[2]} {number}", "here", 1, datetime.now(timezone.utc)))
    if job: print(job.id)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    ids = [int(word) for process in processes for word in process.communicate(timeout=120)[0].split()]
    assert sorted(ids) == list(range(1, 13))


def test_jobs_of_a_project_run_one_after_the_other(jobs: Jobs) -> None:
    jobs.queue(PROJECT, "button")
    first = claimed(jobs)
    second, _ = jobs.queue(PROJECT, "button")
    assert jobs.claim(worker("there/cpu")) is None
    assert not jobs.is_claimable(["there/cpu"])
    jobs.end(first, "done", result={"version": "a"})
    assert jobs.is_claimable([])
    assert claimed(jobs, "there/cpu").id == second.id


@pytest.mark.parametrize(
    ("how", "claimer", "goes_on"),
    [
        ("old", "there/cpu", True),
        ("fresh", "there/cpu", False),
        ("fresh", "here/cpu", True),
    ],
    ids=["its heart stands still", "its worker lives elsewhere", "its own place is free, so the worker is gone"],
)
def test_a_lost_workers_job_goes_on(jobs: Jobs, engine: Engine, how: str, claimer: str, goes_on: bool) -> None:
    jobs.queue(PROJECT, "button")
    first = claimed(jobs)
    jobs.beat(first, stage="training", step=5, steps=10)
    if how == "old":
        grow_old(engine, first)
    assert jobs.is_claimable([claimer]) is goes_on
    second = jobs.claim(worker(claimer))
    assert (second is not None) is goes_on
    if second is not None:
        assert (second.id, second.tries, second.stage, second.step) == (first.id, 2, "training", 5)
        assert second.started_at == first.started_at


def test_a_lost_job_goes_before_queued_ones(jobs: Jobs, engine: Engine) -> None:
    jobs.queue(PROJECT, "button")
    jobs.queue(OTHER, "button")
    first, second = claimed(jobs, "a"), claimed(jobs, "b")
    jobs.queue("local/3.3", "button")
    grow_old(engine, second)
    assert [claimed(jobs, "c").id, claimed(jobs, "a").id] == [second.id, first.id]


def test_a_worker_that_wakes_up_late_may_write_nothing(jobs: Jobs, engine: Engine) -> None:
    jobs.queue(PROJECT, "button")
    late = claimed(jobs)
    grow_old(engine, late)
    now = claimed(jobs, "there/cpu")
    for write in (
        lambda: jobs.beat(late, stage="training", step=1, steps=2),
        lambda: jobs.end(late, "done", result={}),
        lambda: jobs.note_log(late, "x"),
        lambda: jobs.release(late),
    ):
        with pytest.raises(JobLost, match=r"isn't this worker's any more"):
            write()
    assert jobs.get(now.id) == now
    jobs.end(now, "done", result={"version": "v"})
    with pytest.raises(JobLost):
        jobs.end(now, "failed", error="twice")
    assert jobs.get(now.id).state == "done"


def test_a_job_whose_workers_are_all_killed_fails_in_the_end(jobs: Jobs, engine: Engine) -> None:
    jobs.queue(PROJECT, "button")
    for _ in range(3):
        grow_old(engine, claimed(jobs))
    assert jobs.is_claimable([])
    assert jobs.claim(worker()) is None
    job = jobs.latest()[0]
    assert (job.state, job.tries) == ("failed", 3)
    assert job.error is not None
    assert job.error.startswith("given up after 3 tries")
    assert not jobs.is_claimable([])
    assert jobs.queue(PROJECT, "button")[1]


def test_a_job_that_is_left_on_purpose_costs_no_try(jobs: Jobs) -> None:
    jobs.queue(PROJECT, "button")
    for _ in range(5):
        job = claimed(jobs)
        assert job.tries == 1
        jobs.release(job)
        assert jobs.is_claimable([])
    assert claimed(jobs, "there/cpu").tries == 1


def test_a_queued_job_is_cancelled_at_once(jobs: Jobs) -> None:
    job, _ = jobs.queue(PROJECT, "button")
    assert jobs.cancel(job.id).state == "cancelled"
    assert jobs.claim(worker()) is None
    assert jobs.queue(PROJECT, "button")[1]


def test_a_running_job_hears_of_its_cancel(jobs: Jobs) -> None:
    jobs.queue(PROJECT, "button")
    job = claimed(jobs)
    assert not jobs.beat(job)
    assert jobs.cancel(job.id).state == "running"
    assert jobs.beat(job, stage="training")
    assert jobs.end(job, "cancelled").state == "cancelled"


@pytest.mark.parametrize("when", ["before its worker was lost", "afterwards"])
def test_a_lost_job_that_was_cancelled_is_not_gone_on_with(jobs: Jobs, engine: Engine, when: str) -> None:
    jobs.queue(PROJECT, "button")
    job = claimed(jobs)
    if when == "afterwards":
        grow_old(engine, job)
        assert jobs.cancel(job.id).state == "cancelled"
    else:
        jobs.cancel(job.id)
    assert jobs.claim(worker()) is None
    assert jobs.get(job.id).state == "cancelled"
    assert jobs.get(job.id).error is None


def test_what_is_over_or_unknown_cannot_be_cancelled(jobs: Jobs) -> None:
    jobs.queue(PROJECT, "button")
    job = jobs.end(claimed(jobs), "done", result={"version": "v", "gain": 0.1})
    assert job.result == {"version": "v", "gain": 0.1}
    with pytest.raises(JobError, match=r"job 1 is done: only a queued or running one"):
        jobs.cancel(job.id)
    for number in (2, -1, 2**70):
        with pytest.raises(JobError, match=r"there is no job"):
            jobs.get(number)


def test_a_number_is_not_given_twice(jobs: Jobs, engine: Engine) -> None:
    """A log is named by it."""
    first, _ = jobs.queue(PROJECT, "button")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs"))
    assert jobs.queue(PROJECT, "button")[0].id > first.id


def accept(engine: Engine, project: str, *numbers: int, second: int = 0, state: Any = "accepted") -> None:
    at = datetime(2026, 11, 22, 12, 0, second, tzinfo=timezone.utc)
    Annotations(engine).keep([KeptAnnotation(project, number, number, state, at) for number in numbers])


def test_news_are_what_was_accepted_since_the_last_job(jobs: Jobs, engine: Engine) -> None:
    accept(engine, PROJECT, 1, 2, 3)
    accept(engine, PROJECT, 4, state="skipped")
    accept(engine, OTHER, 1)
    assert jobs.news() == {PROJECT: 3, OTHER: 1}
    jobs.queue(PROJECT, "button")
    accept(engine, PROJECT, 5)
    claimed(jobs)
    assert jobs.news() == {OTHER: 1}, "it began after the fifth was accepted"
    accept(engine, PROJECT, 6)
    accept(engine, PROJECT, 1, second=5)
    accept(engine, PROJECT, 2)
    assert jobs.news() == {PROJECT: 2, OTHER: 1}, "a new one and a changed one; the same again is none"


def test_a_cancelled_job_isnt_wanted_again_by_the_same_news(jobs: Jobs, engine: Engine) -> None:
    accept(engine, PROJECT, 1, 2, 3)
    jobs.cancel(jobs.queue(PROJECT, "count")[0].id)
    assert jobs.news() == {}


def test_a_queue_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    engine = open_database(database_url("store", tmp_path / "x"), "store")
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE jobs"))
    jobs = Jobs(engine)
    for ask in (
        jobs.count,
        jobs.news,
        jobs.latest,
        lambda: jobs.queue(PROJECT, "button"),
        lambda: jobs.claim(worker()),
    ):
        with pytest.raises(StoreError, match=r"cannot read or write the queue of jobs: no such table"):
            ask()
    engine.dispose()
