"""The thread that starts a worker where there is work, one at a time, with a growing pause after its ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from xsam_backend.config import ENV_PREFIX, environment_of, load_settings
from xsam_backend.errors import JobError
from xsam_backend.learning import worker_places
from xsam_backend.learning.wishes import Wishes
from xsam_backend.learning.worker_places import device_name, held_place, places
from xsam_backend.server import worker_process
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.worker_process import WorkerKeeper, spawn_worker, worker_log
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.jobs import Jobs, Worker

KEY = "local/21.5"


class Process:
    """Stands in for a worker."""

    pid = 4711

    def __init__(self) -> None:
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode


class Keeping:
    """A keeper with processes that tests end, and a clock that they set."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_database(database_url("store", folder), "store")
        self.jobs = Jobs(self.engine)
        self.folder = folder / "jobs"
        self.monitor = Monitor()
        self.started: list[Process] = []
        self.now = 1000.0
        self.keeper = self.new_keeper()

    def new_keeper(self) -> WorkerKeeper:
        return WorkerKeeper(self.jobs, Wishes(self.jobs), self.folder, self.monitor, self._spawn)

    def _spawn(self) -> Any:
        self.started.append(Process())
        return self.started[-1]

    def claim(self, place: str) -> None:
        assert self.jobs.claim(Worker(place, "here", 1, datetime.now(timezone.utc))) is not None


@pytest.fixture
def keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeping]:
    made = Keeping(tmp_path)
    monkeypatch.setattr(worker_process.time, "monotonic", lambda: made.now)
    yield made
    made.engine.dispose()


def test_a_worker_is_started_where_there_is_work_and_only_one(keeping: Keeping) -> None:
    keeping.keeper.look()
    assert keeping.started == []
    keeping.jobs.queue(KEY, "button")
    keeping.keeper.look()
    keeping.keeper.look()
    assert len(keeping.started) == 1


def test_a_worker_that_outlived_its_service_is_found(keeping: Keeping) -> None:
    keeping.jobs.queue(KEY, "button")
    with held_place(keeping.folder, "cpu") as place:
        keeping.claim(place)
        keeping.jobs.queue("local/22.6", "button")
        keeping.new_keeper().look()
        assert keeping.started == []
    keeping.new_keeper().look()
    assert len(keeping.started) == 1, "it has ended: its job goes on"


def test_a_killed_workers_job_needs_no_patience(keeping: Keeping) -> None:
    """Its heart was beaten just now, but its lock is free."""
    keeping.jobs.queue(KEY, "button")
    with held_place(keeping.folder, "cpu") as place:
        keeping.claim(place)
    keeping.keeper.look()
    assert len(keeping.started) == 1


def test_another_machines_job_is_left_to_it(keeping: Keeping) -> None:
    keeping.jobs.queue(KEY, "button")
    keeping.claim("elsewhere/cpu")
    keeping.jobs.queue(KEY, "button")
    keeping.keeper.look()
    assert keeping.started == []


def test_a_worker_that_keeps_dying_is_started_less_and_less_often(keeping: Keeping) -> None:
    keeping.jobs.queue(KEY, "button")
    began = []
    for _ in range(12):
        while not keeping.started or keeping.started[-1].returncode is not None:
            keeping.keeper.look()
            keeping.now += 0.5
        began.append(keeping.now)
        keeping.started[-1].returncode = -9
    pauses = [after - before for before, after in pairwise(began)]
    assert pauses[:4] == pytest.approx([2, 4, 8, 16], abs=1)
    assert pauses[-1] == pytest.approx(worker_process.LONGEST_PAUSE_S, abs=1)
    (problem,) = keeping.monitor.last_problems
    assert "ended with signal 9" in problem.message
    assert str(worker_log(keeping.folder)) in problem.message


def test_a_worker_that_finds_another_one_in_its_place_is_no_problem(keeping: Keeping) -> None:
    """Two services on one data folder, which look at the same moment."""
    keeping.jobs.queue(KEY, "button")
    keeping.keeper.look()
    with held_place(keeping.folder, "cpu"):
        keeping.started[-1].returncode = 1
        keeping.keeper.look()
    assert keeping.monitor.last_problems == []
    assert len(keeping.started) == 1


def test_an_ordinary_end_is_no_problem_and_forgets_earlier_ones(keeping: Keeping) -> None:
    for _ in range(5):
        keeping.jobs.queue(KEY, "button")
        keeping.now += 2 * worker_process.FIRST_PAUSE_S
        keeping.keeper.look()
        worker = keeping.started[-1]
        keeping.claim("here/cpu")
        keeping.jobs.end(keeping.jobs.latest()[0], "done")
        worker.returncode = 0
        keeping.keeper.look()
    assert len(keeping.started) == 5
    assert keeping.monitor.last_problems == []


def test_the_thread_queues_starts_and_tells_of_errors(tmp_path: Path, keeping: Keeping) -> None:
    keeper = keeping.new_keeper()
    keeping.jobs.queue(KEY, "button")
    keeping.engine.dispose()
    keeper.start()
    while not keeping.started:
        keeper.wake()
    keeper.close()
    assert len(keeping.started) == 1


def test_a_place_is_held_once_until_its_holder_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_places, "_PATIENCE_S", 0.1)
    assert places(tmp_path) == {}
    with held_place(tmp_path, "cpu") as cpu, held_place(tmp_path, "cuda:0") as gpu:
        assert places(tmp_path) == {cpu: False, gpu: False}
        with pytest.raises(JobError, match=r"another process fine-tunes on cpu"), held_place(tmp_path, "cpu"):
            pass
    assert places(tmp_path) == {cpu: True, gpu: True}
    with held_place(tmp_path, "cpu") as again:
        assert again == cpu, "the same place, so that its job is known for lost"
    with held_place(tmp_path / "other", "cpu") as other:
        assert other != cpu


def test_a_killed_holder_frees_its_place(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from xsam_backend.learning.worker_places import held_place
with held_place(Path(sys.argv[1]), "cpu"):
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert list(places(tmp_path).values()) == [False]
        process.kill()
        process.wait()
    assert list(places(tmp_path).values()) == [True]


def test_each_device_has_one_name() -> None:
    assert [device_name(device) for device in ("cpu", "cuda", "cuda:0", "cuda:1")] == [
        "cpu",
        "cuda:0",
        "cuda:0",
        "cuda:1",
    ]
    assert device_name("auto") in ("cpu", "cuda:0")


def test_a_worker_gets_the_services_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        data_dir=tmp_path / "data",
        database_url="sqlite:///elsewhere",
        allow_private_hosts=("10.0.0.0/8", "pictures"),
        train_worker=False,
        train_memory_mb=500,
        train_schedule="0 3 * * *",
    )
    environment = environment_of(settings)
    script = "import json; from xsam_backend.config import load_settings; print(repr(load_settings()))"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(settings)
    assert environment[f"{ENV_PREFIX}DATABASE_URL"] == "sqlite:///elsewhere"
    assert json.dumps(environment), "texts only"


def test_a_spawned_worker_is_on_its_own_and_ends_when_nothing_is_left(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data", device="cpu")
    with spawn_worker(settings) as process:
        assert os.getsid(process.pid) == process.pid
        assert b"MALLOC_MMAP_MAX_=0" in Path(f"/proc/{process.pid}/environ").read_bytes()
        assert process.wait(120) == 0, worker_log(settings.jobs_dir).read_text()
    assert list(places(settings.jobs_dir).values()) == [True]
