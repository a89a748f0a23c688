"""``jobs``: queue, look, cancel, and a worker that ends when nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from xsam_backend.cli import jobs as verb
from xsam_backend.learning import jobs as learning_jobs
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.jobs import Jobs, Worker
from xsam_backend.store.projects import ProjectKey, Projects

Run = Callable[..., tuple[int, str, str]]
KEY = ProjectKey("local", 21, 1795347497)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """The queue of the default data folder, with one project that has called."""
    engine = open_database(database_url("store", tmp_path / "data"), "store")
    Projects(engine).remember(KEY)
    yield Jobs(engine)
    engine.dispose()


@pytest.mark.parametrize("name", ["21", "21.1795347497"])
def test_start_queues_once(run: Run, jobs: Jobs, name: str) -> None:
    assert run("jobs", "start", name)[:2] == (
        0,
        "job 1 is queued: a running service starts it, or `jobs work`\n",
    )
    assert "job 1 is queued already" in run("jobs", "start", name)[1]
    (job,) = jobs.latest()
    assert (job.project_key, job.reason) == (str(KEY), "command")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("22", "project 22: expected the number of one known project (local/21.1795347497), 0 have it"),
        ("21.5", "project local/21.5 is not known: expected one of local/21.1795347497"),
        ("cells", "<id>.<creation second>"),
    ],
)
def test_an_unknown_project_is_said(run: Run, jobs: Jobs, name: str, words: str) -> None:
    status, _, error = run("jobs", "start", name)
    assert (status, words in error) == (1, True), error
    assert jobs.latest() == []


def test_list_show_and_log_tell_how_far_a_job_is(run: Run, jobs: Jobs, tmp_path: Path) -> None:
    jobs.queue("local/1.1", "button")
    jobs.queue("local/2.2", "schedule")
    job = jobs.claim(Worker("here/cpu", "machine-a", 4711, datetime.now(timezone.utc)))
    assert job is not None
    jobs.beat(job, stage="training", step=3, steps=10, eta_s=90)
    jobs.note_log(job, str(tmp_path / "1.log"))
    jobs.cancel(job.id)
    assert run("jobs", "list")[1].splitlines() == [
        "2  queued  local/2.2  schedule",
        "1  running  local/1.1  button  training 3 of 10, 1.5 min left of it, to be cancelled",
    ]
    assert run("jobs", "list", "--limit", "1")[1].splitlines() == ["2  queued  local/2.2  schedule"]
    shown = dict(line.split(None, 1) for line in run("jobs", "show", "1")[1].splitlines())
    assert (shown["state"], shown["host"], shown["pid"], shown["stage"]) == (
        "running",
        "machine-a",
        "4711",
        "training",
    )
    assert run("jobs", "log", "1")[0] == 1
    (tmp_path / "1.log").write_text("a line\n")
    assert run("jobs", "log", "1")[:2] == (0, "a line\n")
    status, _, error = run("jobs", "log", "2")
    assert (status, "job 2 is queued and has no log yet" in error) == (1, True)
    jobs.end(job, "failed", error="the disk is full")
    assert run("jobs", "list")[1].splitlines()[1] == "1  failed  local/1.1  button  the disk is full"


def test_a_job_whose_worker_is_gone_is_told_from_one_that_runs(run: Run, jobs: Jobs) -> None:
    """As after a kill, a stop of the worker, or in a folder that was restored."""
    jobs.queue("local/1.1", "button")
    job = jobs.claim(Worker("here/cpu", "machine-a", 4711, datetime.now(timezone.utc)))
    assert job is not None
    jobs.beat(job, stage="training", step=3, steps=10, eta_s=90)
    jobs.release(job)
    assert run("jobs", "list")[1].splitlines() == [
        "1  running  local/1.1  button  training 3 of 10, but its worker is gone: the next one goes on with it"
    ]


@pytest.mark.parametrize("arguments", [("list",), ("show", "1"), ("log", "1"), ("cancel", "1"), ("start", "21")])
def test_a_folder_without_a_store_is_said_and_left_alone(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    status, _, error = run("jobs", *arguments, "--data-dir", tmp_path / "mistyped")
    assert (status, "nothing is kept at" in error) == (1, True), error
    assert not (tmp_path / "mistyped").exists()


def test_cancel(run: Run, jobs: Jobs) -> None:
    jobs.queue("local/1.1", "button")
    assert run("jobs", "cancel", "1")[:2] == (0, "job 1 is cancelled\n")
    jobs.queue("local/1.1", "button")
    assert jobs.claim(Worker("here/cpu", "here", 1, datetime.now(timezone.utc))) is not None
    assert run("jobs", "cancel", "2")[:2] == (0, "job 2 is running, and will stop at its next step\n")
    status, _, error = run("jobs", "cancel", "7")
    assert (status, "there is no job 7" in error) == (1, True)


def test_work_runs_what_is_queued_and_ends(run: Run, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    stepped_back = []
    monkeypatch.setattr(verb, "_step_back", stepped_back.append)  # this process's priority must stay
    seen: list[Any] = []

    def fine_tuning(settings: Any) -> Any:
        result = {"version": "v1", "promoted": False, "reasons": ["no gain", "scenes lost"]}
        return lambda job, progress: seen.append((job.id, settings.device)) or result

    monkeypatch.setattr(learning_jobs, "fine_tuning", fine_tuning)
    jobs.queue("local/1.1", "button")
    jobs.queue("local/2.2", "button")
    status, out, error = run("jobs", "work", "--once", "--device", "cpu", "--train-nice", "7")
    assert (status, out) == (0, ""), error
    assert seen == [(1, "cpu"), (2, "cpu")]
    assert stepped_back == [7]
    assert [job.result["version"] for job in jobs.latest() if job.result] == ["v1", "v1"]
    assert run("jobs", "list")[1].count("v1 refused: no gain; scenes lost") == 2
