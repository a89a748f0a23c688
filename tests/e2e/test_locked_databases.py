"""Another process holds a database for seconds, as a careless backup does: what is answered, and what is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from backend_process import BackendProcess
from event_parts import ROOT_SECRET, Sender, until
from sqlalchemy import Engine
from test_serving import click_on

from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.jobs import Jobs
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import Projects

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
HELD_S = 8.0
"""Longer than anybody waits for a lock."""

HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@contextmanager
def held(database: Path, seconds: float = HELD_S) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the write lock, from the start of the block on and as long as it takes."""
    command = [sys.executable, "-c", HOLD, str(database), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


@pytest.fixture
def backend(data_dir: Path, store: Engine) -> Iterator[BackendProcess]:
    settings = {"webhook_secret": ROOT_SECRET}
    with BackendProcess(data_dir, settings=settings) as running:
        yield running


def test_while_the_store_is_held_events_and_clicks_are_answered(
    backend: BackendProcess, data_dir: Path, store: Engine
) -> None:
    sender = Sender()
    renamed = {"action": "PROJECT_UPDATED", "project": sender.project(2, title="renamed")}
    worker = [sys.executable, str(HERE / "work_fake.py"), str(data_dir), "120", "0.05", "once"]
    Jobs(store).queue("local/7.7", "command")
    with subprocess.Popen(worker, stderr=subprocess.DEVNULL) as working:
        until(lambda: Jobs(store).latest()[0].state == "running", 30, "a running job")
        with held(data_dir / "store.sqlite3") as holding:
            for number in range(10):
                event = sender.annotated(number, 100 + number, 1)
                assert sender.send(backend.url, event, timeout_s=1).status_code == 201, (
                    "Label Studio waits one second"
                )
            assert sender.send(backend.url, renamed, timeout_s=1).status_code == 201
            begun = time.monotonic()
            answers = [click_on(backend) for _ in range(2)]
            took_s = time.monotonic() - begun
            assert [answer.status_code for answer in answers] == [200, 200]
            assert all(answer.json()["results"][0]["result"] for answer in answers)
            assert holding.poll() is None, f"they waited until the lock was gone: {took_s:.1f} s"
            assert requests.get(f"{backend.url}/health", timeout=1).ok
        assert working.wait(60) == 0
    (job,) = Jobs(store).latest()
    assert (job.state, job.result) == ("done", {"counted": 120})
    until(lambda: Annotations(store).count().get(str(sender.key)) == {"accepted": 10}, 30, "catching up")
    until(lambda: [one.title for one in Projects(store).all()] == ["renamed"], 30, "a title")
    until(lambda: PredictionLog(store).count() == {"fake-1": 2}, 30, "logging what was answered")


def test_while_the_inbox_is_held_events_are_refused_in_words_and_all_else_goes_on(
    backend: BackendProcess, data_dir: Path, store: Engine
) -> None:
    """As many events at once as the service has threads: most give up soon, and their project is to be synced."""
    sender = Sender()
    Projects(store).remember(sender.key)
    with held(data_dir / "inbox.sqlite3"), ThreadPoolExecutor(16) as pool:
        sent = [pool.submit(sender.send, backend.url, sender.annotated(n, 100 + n, 1)) for n in range(16)]
        time.sleep(2.5)
        assert requests.get(f"{backend.url}/health", timeout=1).ok
        assert click_on(backend).status_code == 200
        answers = [future.result() for future in sent]
    refused = [answer for answer in answers if answer.status_code != 201]
    assert refused
    for answer in refused:
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "database is locked" in answer.json()["error"]
    assert sender.send(backend.url, sender.annotated(50, 150, 1)).status_code == 201
    engine = open_database(database_url("inbox", data_dir), "inbox")
    kept = {event.body["annotation"]["id"] for event in Inbox(engine).after()}
    engine.dispose()
    acknowledged = {number for number, answer in enumerate(answers) if answer.status_code == 201}
    assert kept == acknowledged | {50}
    assert [key for key, _ in Projects(store).sync_wanted()] == [str(sender.key)]
