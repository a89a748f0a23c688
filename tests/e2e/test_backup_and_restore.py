"""Backup of a service under load, restored beside and over it; a database that broke; older tables."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from backend_process import BackendProcess
from test_serving import click_on

from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.inbox import Inbox

pytestmark = pytest.mark.e2e


def store(verb: str, *arguments: str | Path, data_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xsam_backend", "store", verb, *map(str, arguments), "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def events(data_dir: Path) -> set[int]:
    engine = open_database(database_url("inbox", data_dir), "inbox")
    try:
        return {event.body["tasks"][0]["id"] for event in Inbox(engine).after(limit=100_000)}
    finally:
        engine.dispose()


@contextmanager
def poured(backend: BackendProcess) -> Iterator[list[int]]:
    """Events and clicks without a pause, as long as the block lasts; the events that were acknowledged so far."""
    acknowledged: list[int] = []
    stop = threading.Event()

    def send_events() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            event = {"action": "TASKS_DELETED", "tasks": [{"id": number}]}
            assert requests.post(f"{backend.url}/webhook", json=event, timeout=5).status_code == 201
            acknowledged.append(number)

    def click_on_and_on() -> None:
        while not stop.is_set():
            assert click_on(backend).status_code == 200

    threads = [threading.Thread(target=work) for work in (send_events, click_on_and_on)]
    for thread in threads:
        thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def answer_of(backend: BackendProcess) -> object:
    (entry,) = click_on(backend).json()["results"]
    return [(region["type"], region["value"]) for region in entry["result"]]


def test_under_load_and_back(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    with BackendProcess(data) as backend:
        with poured(backend) as acknowledged:
            while len(acknowledged) < 20:
                time.sleep(0.01)
            before = set(acknowledged)
            done = store("backup", tmp_path / "backup", data_dir=data)
            assert done.returncode == 0, done.stderr
            so_far = len(acknowledged)
            while len(acknowledged) < so_far + 5:
                time.sleep(0.01)
        answered, after = answer_of(backend), set(acknowledged)
        refused = store("restore", tmp_path / "backup", "--replace", data_dir=data)
        assert (refused.returncode, "in use: stop every service" in refused.stderr) == (1, True)
        assert answer_of(backend) == answered
    assert store("restore", tmp_path / "backup", data_dir=other).returncode == 0
    kept = events(other)
    assert before <= kept < after, "what was acknowledged before the backup began is in it"
    assert kept == set(range(1, len(kept) + 1)), "one moment: nothing is missing in between"
    with BackendProcess(other) as restored:
        assert answer_of(restored) == answered
        assert requests.get(f"{restored.url}/status", timeout=5).json()["regions"]["fake-1"] > 0
    done = store("restore", tmp_path / "backup", "--replace", data_dir=data)
    assert (done.returncode, "what was there before:" in done.stdout) == (0, True), done.stderr
    assert events(data) == kept


def test_a_broken_database_is_said_with_the_way_out_and_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with BackendProcess(data) as backend:
        click_on(backend)
    assert store("backup", tmp_path / "backup", data_dir=data).returncode == 0
    broken = b"\xff" * 40_000
    (data / "store.sqlite3").write_bytes(broken)
    with pytest.raises(RuntimeError, match=r"cannot start: .*store\.sqlite3 is damaged .*store restore BACKUP"):
        BackendProcess(data).__enter__()
    assert (data / "store.sqlite3").read_bytes() == broken
    done = store("restore", tmp_path / "backup", "--replace", data_dir=data)
    assert done.returncode == 0, done.stderr
    with BackendProcess(data) as backend:
        assert requests.get(f"{backend.url}/status", timeout=5).json()["regions"] == {"fake-1": 1}


def test_back_to_the_tables_of_an_older_version(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with BackendProcess(data) as backend:
        refused = store("downgrade", "store_0006", "--yes", data_dir=data)
        assert (refused.returncode, "in use" in refused.stderr) == (1, True)
        click_on(backend)
    unknown = store("downgrade", "store_0042", data_dir=data)
    assert (unknown.returncode, "expected one of inbox_0001, store_0001" in unknown.stderr) == (1, True)
    told = store("downgrade", "store_0006", data_dir=data)
    first, *_, last = told.stdout.splitlines()
    assert first == (
        "to be dropped with --yes, store_0010: Which prompts found nothing, or not all that they asked for, and why."
    )
    assert last.startswith("to be dropped with --yes, store_0007: ")
    done = store("downgrade", "store_0006", "--yes", data_dir=data)
    assert done.stdout.splitlines()[0] == first.replace("to be dropped with --yes", "dropped"), "nothing was, before"
    assert "the store tables are at store_0006" in done.stdout, done.stderr
    with BackendProcess(data) as backend:  # today's version brings them up again
        assert requests.get(f"{backend.url}/status", timeout=5).json()["regions"] == {"fake-1": 1}
        assert "the store tables are brought from store_0006 to store_0010" in backend.log
