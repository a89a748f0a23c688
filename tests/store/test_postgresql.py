"""The store on a real PostgreSQL."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, text

from xsam_backend.errors import StoreError
from xsam_backend.store.bulk_tasks import BulkTasks, Outcome
from xsam_backend.store.database import History, alembic_config, database_url, open_database
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.jobs import STALE_AFTER, JobLost, Jobs, Worker
from xsam_backend.store.predictions import LoggedReason, LoggedRegion, PredictionLog
from xsam_backend.store.projects import ProjectKey, Projects

HISTORIES: tuple[History, ...] = ("store", "inbox")


@pytest.fixture
def engines(postgresql_database: str) -> Iterator[dict[History, Engine]]:
    """Both families in one database, opened by several services at once; taken down again afterwards."""
    url = database_url("store", Path(), postgresql_database)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda history: (history, open_database(url, history)), HISTORIES * 2))
    engines = dict(opened)
    yield engines
    for history, engine in engines.items():
        with engine.begin() as connection:
            config = alembic_config(history)
            config.attributes["connection"] = connection
            command.downgrade(config, "base")
    for _, engine in opened:
        engine.dispose()


def test_migrations_and_tables_agree(engines: dict[History, Engine]) -> None:
    for history, engine in engines.items():
        with engine.begin() as connection:
            config = alembic_config(history)
            config.attributes["connection"] = connection
            command.check(config)


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = database_url("store", Path(), f"postgresql+psycopg://me:hush@127.0.0.1:{port}/xsam?connect_timeout=2")
        with pytest.raises(StoreError, match=r"cannot open the store database .*timeout") as caught:
            open_database(url, "store")
    assert "hush" not in str(caught.value)


def test_waits_for_a_server_are_limited(engines: dict[History, Engine]) -> None:
    with engines["store"].connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        said = driver.info.get_parameters()
    assert (said["connect_timeout"], said["tcp_user_timeout"]) == ("5", "20000")


def test_an_event_is_kept_once_and_a_proof_replaces_a_hint(engines: dict[History, Engine]) -> None:
    inbox = Inbox(engines["inbox"])
    body = {"action": "TASKS_CREATED", "tasks": [{"id": 1, "data": {"x": "\x00é"}}]}
    for verified in (False, True, False):
        inbox.put(body, None, verified=verified)
    (event,) = inbox.after()
    assert (event.verified, event.body) == (True, body)


def test_projects_and_predictions(engines: dict[History, Engine]) -> None:
    projects, log = Projects(engines["store"]), PredictionLog(engines["store"])
    key = ProjectKey("ls:8080", 1, 2)
    projects.remember(key, label_config="<View/>")
    projects.remember(key, title="cells")
    known = projects.of(str(key))
    assert known is not None
    assert (known.title, known.label_config) == ("cells", "<View/>")
    projects.hear_of(key, "<View>forged</View>")
    assert projects.of(str(key)) == known
    region = LoggedRegion(
        region_id="a",
        project_key=str(key),
        task_id="5",
        model_version="v",
        from_name="poly",
        region_type="polygonlabels",
        label="cat",
        score=0.5,
        interactive=True,
        prompt={"task": "intseg"},
        value={"points": [[1.5, 2.5]]},
        image_sha256="f" * 64,
        image_size_hw=(3, 4),
        created_at=datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=timezone.utc),
    )
    why = LoggedReason(
        str(key), "5", "v", "poly", {"task": "ovseg"}, "nothing scored", "f" * 64, (3, 4), region.created_at
    )
    log.add([region, replace(region, region_id="b", label=None), why])
    assert log.find(["a"]) == {"a": region}
    assert log.reasons(str(key)) == [why]
    assert log.count() == {"v": 2}


def test_services_that_share_a_queue_run_each_job_once(engines: dict[History, Engine]) -> None:
    engine = engines["store"]

    def claim(number: int) -> int | None:
        job = Jobs(engine).claim(Worker(f"place {number}", "here", number, datetime.now(timezone.utc)))
        return None if job is None else job.id

    def press(number: int) -> tuple[int, bool]:
        job, is_new = Jobs(engine).queue(f"local/{number % 6}.1", "button")
        return job.id, is_new

    with ThreadPoolExecutor(8) as pool:
        presses = list(pool.map(press, range(60)))
        assert (len({number for number, _ in presses}), sum(is_new for _, is_new in presses)) == (6, 6)
        found = [number for number in pool.map(claim, range(20)) if number is not None]
    assert len(found) == len(set(found)) == 6


def test_a_job_is_cancelled_lost_given_up_or_done(engines: dict[History, Engine]) -> None:
    engine = engines["store"]
    jobs, here = Jobs(engine, tries=2), Worker("place", "here", 1, datetime.now(timezone.utc))
    first, _ = jobs.queue("local/1.1", "button")
    assert jobs.cancel(first.id).state == "cancelled"
    jobs.queue("local/1.1", "button")
    lost = jobs.claim(here)
    assert lost is not None
    assert not jobs.beat(lost, stage="training", step=1, steps=2, eta_s=0.5)
    long_ago = datetime.now(timezone.utc) - STALE_AFTER - timedelta(seconds=1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET heartbeat_at = :at"), {"at": long_ago})
    assert jobs.is_claimable([])
    again = jobs.claim(replace(here, place="elsewhere"))
    assert again is not None
    assert (again.id, again.tries, again.step, again.worker_started_at) == (lost.id, 2, 1, here.started_at)
    with pytest.raises(JobLost):
        jobs.beat(lost)
    assert jobs.claim(replace(here, place="elsewhere")) is None
    assert jobs.get(again.id).state == "failed"
    jobs.queue("local/1.1", "button")
    last = jobs.claim(here)
    assert last is not None
    assert jobs.end(last, "done", result={"version": "é"}).result == {"version": "é"}
    assert jobs.news() == {}
    assert jobs.count() == {"cancelled": 1, "failed": 1, "done": 1}


def test_services_that_share_the_bulk_queue_answer_each_task_once(engines: dict[History, Engine]) -> None:
    engine, key = engines["store"], "here/1.1"
    until = datetime.now(timezone.utc) + timedelta(minutes=1)

    def press(_: int) -> int:
        queue = BulkTasks(engine)
        held = queue.reserve(key, range(30), "v1", until)
        queue.settle(held.holder, {0: Outcome("in reply", until)})
        return len(held.mine)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(press, range(8))) == 30
        found = [task for task in pool.map(lambda _: BulkTasks(engine).claim("here", until), range(40)) if task]
    assert sorted(task.task_id for task in found) == list(range(1, 30))
    queue = BulkTasks(engine)
    queue.settle(found[0].holder, {found[0].task_id: Outcome("failed", error="gone", counts=False)})
    assert queue.troubles(key) == [(found[0].task_id, "failed", "gone")]
    assert queue.end_project(key, "dropped") == 29
    assert {state: number for state, number in queue.progress()[0].counts.items() if number} == {
        "failed": 1,
        "dropped": 29,
    }
    assert (queue.recover(), queue.upcoming(key, 5)) == (0, [])
