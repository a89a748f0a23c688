"""What a worker does with a job: progress, cancel, every way to fail, and a process that takes too much memory."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from xsam_backend.errors import CheckpointError, JobError, StoreError
from xsam_backend.learning import heart as heart_module
from xsam_backend.learning import jobs as jobs_module
from xsam_backend.learning.heart import Heart, own_memory_mb
from xsam_backend.learning.jobs import Progress, fine_tuning, work
from xsam_backend.store.jobs import Job, Jobs, Worker

KEY = "local/21.5"
WORKER = Worker("here/cpu", "here", 1, datetime(2026, 11, 28, tzinfo=timezone.utc))
Work = Callable[..., Job]


@pytest.fixture
def jobs(engines: dict[str, Engine]) -> Jobs:
    return Jobs(engines["store"])


@pytest.fixture
def work_on(jobs: Jobs, tmp_path: Path) -> Work:
    """Queue a job, let a worker run it by the given function, and return it."""

    def work_on_one(run: Callable[[Job, Progress], Mapping[str, Any]], **given: Any) -> Job:
        job, _ = jobs.queue(KEY, "button")
        work(jobs, run, WORKER, tmp_path / "jobs", once=True, **given)
        return jobs.get(job.id)

    return work_on_one


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(heart_module, "BEAT_EVERY_S", 0.01)
    monkeypatch.setattr(jobs_module, "_WRITE_AGAIN_S", (0.01, 0.01))
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.INFO)
    yield
    logging.getLogger().setLevel(level)


def log_of(job: Job) -> str:
    assert job.log_file is not None
    return Path(job.log_file).read_text()


def test_a_job_is_run_logged_and_done(work_on: Work) -> None:
    def run(job: Job, progress: Progress) -> Mapping[str, Any]:
        progress("training", 1, 2)
        logging.getLogger("elsewhere").info("a loss of 0.5")
        return {"version": f"of {job.project_key}"}

    job = work_on(run)
    assert (job.state, job.result, job.error) == ("done", {"version": f"of {KEY}"}, None)
    assert (job.stage, job.tries) == ("training", 1)
    assert "a loss of 0.5" in log_of(job)
    logging.getLogger("elsewhere").info("not any more")
    assert "not any more" not in log_of(job)


def test_progress_is_seen_while_it_runs_with_the_time_that_is_left(
    work_on: Work, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heart_module, "WRITE_EVERY_S", 0.0)
    seen = []

    def run(job: Job, progress: Progress) -> Mapping[str, Any]:
        for step in range(5):
            progress("training", 10 + step, 20)
            seen.append(jobs.get(job.id))
            time.sleep(0.05)
        progress("exam")
        seen.append(jobs.get(job.id))
        return {}

    assert work_on(run).eta_s is None
    assert [(job.stage, job.step, job.steps) for job in seen[3:]] == [
        ("training", 13, 20),
        ("training", 14, 20),
        ("exam", 0, 0),
    ]
    assert (seen[0].eta_s, seen[5].eta_s) == (None, None)
    assert seen[4].eta_s is not None
    assert seen[4].eta_s >= 0.05 * 6, "six more steps, as slow as those of this try"


def test_progress_within_a_stage_is_written_once_in_a_while(jobs: Jobs) -> None:
    jobs.queue(KEY, "button")
    job = jobs.claim(WORKER)
    assert job is not None
    heart = Heart(jobs, job)
    for step in range(100):
        heart.progress("training", step, 100)
    assert jobs.get(job.id).step < 99
    heart.progress("exam", 7, 9)
    assert jobs.get(job.id).step == 7


def test_a_cancelled_job_ends_at_its_next_step(work_on: Work, jobs: Jobs) -> None:
    def run(job: Job, progress: Progress) -> Mapping[str, Any]:
        jobs.cancel(job.id)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            progress("training", 1, 2)
            time.sleep(0.01)
        raise AssertionError("it wasn't told")

    job = work_on(run)
    assert (job.state, job.error) == ("cancelled", None)


def test_a_job_is_left_to_the_next_worker_when_this_one_stops(work_on: Work, jobs: Jobs) -> None:
    stop = threading.Event()

    def run(job: Job, progress: Progress) -> Mapping[str, Any]:
        progress("training", 1, 2)
        stop.set()
        progress("training", 2, 2)
        raise AssertionError("it wasn't told")

    assert work_on(run, is_stopping=stop.is_set).state == "running"
    job = jobs.claim(WORKER)
    assert job is not None
    assert job.tries == 1


def test_a_job_that_was_lost_is_let_go(work_on: Work, jobs: Jobs) -> None:
    def run(job: Job, progress: Progress) -> Mapping[str, Any]:
        if job.tries == 1:
            assert jobs.claim(WORKER) is not None  # as if another process had its place
            progress("promoting")
            raise AssertionError("it wasn't told")
        return {"try": job.tries}

    job = work_on(run)
    assert (job.state, job.result) == ("done", {"try": 3})


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "/data/state.pt")


class OutOfMemoryError(RuntimeError):
    """torch has one of this name."""


def in_store_words() -> StoreError:
    error = StoreError("cannot keep a version")
    error.__cause__ = full_disk()
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(MemoryError(), "no memory left (MemoryError): give the machine more", id="Python's memory"),
        pytest.param(OutOfMemoryError("CUDA out of memory. Tried"), "no memory left (CUDA out of", id="the GPU's"),
        pytest.param(
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
            "no memory left (DefaultCPUAllocator",
            id="torch's",
        ),
        pytest.param(full_disk(), "the disk is full ([Errno 28]", id="disk"),
        pytest.param(in_store_words(), "the disk is full (cannot keep a version)", id="disk, in others' words"),
        pytest.param(
            RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full", id="safetensors"
        ),
        pytest.param(CheckpointError("weights do not fit"), "weights do not fit", id="one of ours"),
        pytest.param(ZeroDivisionError("a bug"), "unexpected error ", id="a bug"),
    ],
)
def test_a_failed_job_says_why(work_on: Work, error: Exception, words: str) -> None:
    def run(job: Job, progress: Progress) -> Mapping[str, Any]:
        raise error

    job = work_on(run)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.startswith(words)
    if isinstance(error, ZeroDivisionError):
        error_id = job.error.removeprefix(words).partition(":")[0]
        assert f"error {error_id}" in log_of(job)
        assert "ZeroDivisionError: a bug" in log_of(job), "the traceback is in the log"
        assert "a bug" not in job.error


def test_a_result_that_is_no_json_fails_the_job_and_not_the_worker(work_on: Work) -> None:
    job = work_on(lambda job, progress: {"gain": object()})
    assert (job.state, "unexpected error" in str(job.error)) == ("failed", True)


def test_a_log_that_cannot_be_written_fails_the_job(work_on: Work, tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("not a folder")
    assert work_on(lambda job, progress: {}).state == "failed"


def test_one_failure_leaves_the_next_job_alone(work_on: Work, jobs: Jobs) -> None:
    jobs.queue("local/1.1", "button")

    def run(job: Job, progress: Progress) -> Mapping[str, Any]:
        if job.project_key != KEY:
            raise MemoryError
        return {}

    assert work_on(run).state == "done"
    assert jobs.count() == {"failed": 1, "done": 1}


def test_a_database_that_is_locked_for_a_while_costs_nothing(
    work_on: Work, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def locked_twice(write: Callable[..., Any]) -> Callable[..., Any]:
        def locked_or(*arguments: Any, **given: Any) -> Any:
            if len(refused) < 2:
                refused.append(write)
                raise StoreError("database is locked")
            return write(*arguments, **given)

        return locked_or

    def run(job: Job, progress: Progress) -> Mapping[str, Any]:
        monkeypatch.setattr(jobs, "beat", locked_twice(jobs.beat))
        progress("training", 1, 2)
        progress("exam", 1, 2)
        assert len(refused) == 2
        refused.clear()
        monkeypatch.setattr(jobs, "end", locked_twice(jobs.end))
        return {"version": "v"}

    job = work_on(run)
    assert (job.state, job.result) == ("done", {"version": "v"})


def test_what_cannot_be_written_at_all_ends_the_worker_and_the_job_goes_on_later(
    work_on: Work, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StoreError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "end", full)
        with pytest.raises(StoreError, match=r"disk is full"):
            work_on(lambda job, progress: {"version": "first"})
    assert jobs.latest()[0].state == "running"
    work(
        jobs,
        lambda job, progress: {"version": "second"},
        WORKER,
        Path(str(jobs.latest()[0].log_file)).parent,
        once=True,
    )
    assert jobs.latest()[0].result == {"version": "second"}


def test_a_version_that_cannot_fine_tune_says_so(work_on: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(jobs_module.importlib, "import_module", missing)
    job = work_on(fine_tuning(None))
    assert job.state == "failed"
    assert str(job.error).startswith("this version can't fine-tune yet")


def test_a_job_over_its_memory_fails_at_its_next_step(work_on: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    used = [100]
    monkeypatch.setattr(heart_module, "own_memory_mb", lambda: used[0])
    monkeypatch.setattr(jobs_module, "own_memory_mb", lambda: used[0])

    def run(job: Job, progress: Progress) -> Mapping[str, Any]:
        time.sleep(0.1)
        progress("training", 1, 2)
        used[0] = 3000
        until = time.monotonic() + 60
        while time.monotonic() < until:
            progress("training", 1, 2)
            time.sleep(0.01)
        return {}

    job = work_on(run, memory_mb=2000)
    assert job.state == "failed"
    assert str(job.error).startswith("it takes 3000 MB, more than train_memory_mb (2000)")


def test_a_process_that_hangs_over_its_memory_is_ended_and_its_job_has_failed(jobs: Jobs, tmp_path: Path) -> None:
    """With real memory: 200 MB more than what is allowed, and no further step."""
    jobs.queue(KEY, "button")
    script = """
import sys, time
from datetime import datetime, timezone
from pathlib import Path
from xsam_backend.learning import heart, jobs
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.jobs import Jobs, Worker
heart.GRACE_S = 0.5
folder = Path(sys.argv[1])
limit_mb = heart.own_memory_mb() + 100
def run(job, progress):
    taken = bytearray(b"x" * (200 << 20))
    time.sleep(600)
queue = Jobs(open_database(database_url("store", folder), "store"))
worker = Worker("here/cpu", "here", 1, datetime.now(timezone.utc))
jobs.work(queue, run, worker, folder / "jobs", once=True, memory_mb=limit_mb)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=300, check=False)
    assert done.returncode == 1
    job = jobs.latest()[0]
    assert job.state == "failed"
    assert "more than train_memory_mb" in str(job.error)
    assert "failed: it takes" in log_of(job)


def test_memory_that_cannot_be_measured_is_said_before_anything_runs(
    work_on: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert own_memory_mb() > 10
    monkeypatch.setattr(heart_module, "_STATUS", tmp_path / "no such file")
    with pytest.raises(JobError, match=r"train_memory_mb needs .* set it to 0"):
        work_on(lambda job, progress: {}, memory_mb=100)
