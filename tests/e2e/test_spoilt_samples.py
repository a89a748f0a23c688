"""Pictures that broke, vanished or are others by now, and a label that was renamed: the job trains, and says so."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from backend_process import BackendProcess
from event_parts import CONFIG, ROOT_SECRET, Sender, polygon, until
from PIL import Image
from small_base import save_small_base

from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.datasets.snapshot import SnapshotRecord
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.tasks import Tasks

pytestmark = pytest.mark.e2e

RENAMED = CONFIG.replace("cat", "lion")
TRUNCATED, DAMAGED, GONE, ANOTHER = 100, 101, 102, 103
"""Tasks: half a file came; the kept one broke; it vanished; it is not the picture that was labelled."""

BEFORE, AFTER = range(100, 108), range(108, 112)
"""Tasks that were labelled before the label was renamed, and after."""


def encoded(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), number, np.uint8)).save(buffer, "JPEG")
    content = buffer.getvalue()
    return content[: len(content) // 2] if number == TRUNCATED else content


def annotated(sender: Sender, number: int) -> dict[str, Any]:
    region = polygon("r1", "cat" if number in BEFORE else "lion")
    if number == ANOTHER:
        region |= {"original_width": 300, "original_height": 900}
    event = sender.annotated(number, number, 1, result=[region])
    if number in AFTER:
        event["project"] = sender.project(9, label_config=RENAMED)
    event["task"]["data"]["image"] = "data:image/jpeg;base64," + base64.b64encode(encoded(number)).decode()
    return event


def test_what_is_spoilt_is_left_out_and_told(tmp_path: Path) -> None:
    sender, data_dir = Sender(), tmp_path / "data"
    settings = {
        "webhook_secret": ROOT_SECRET,
        "train_worker": "true",
        "train_steps": "2",
        "train_rehearsal": "2",
        "device": "cpu",
        "train_nice": "0",
    }
    base = save_small_base(tmp_path / "base")
    store = open_database(database_url("store", data_dir), "store")
    tasks = Tasks(store)
    with BackendProcess(data_dir, model=str(base), settings=settings) as backend:
        for number in (*BEFORE, *AFTER):
            assert sender.send(backend.url, annotated(sender, number)).status_code == 201
        until(lambda: len(tasks.of_project(str(sender.key))) == 12 and tasks.count_lacking() == 1, 60, "copies")
        store.dispose()
        kept = {task.task_id: str(task.pictures[0].sha256) for task in tasks.of_project(str(sender.key))}
        files = {number: data_dir / "pictures" / kept[number][:2] / kept[number] for number in (DAMAGED, GONE)}
        files[DAMAGED].write_bytes(files[DAMAGED].read_bytes()[:-200])
        files[GONE].unlink()
        press = {"action": "START_TRAINING", "project": sender.project(9, label_config=RENAMED)}
        number = sender.send(backend.url, press).json()["job"]
        job = until(lambda: over(backend.url, number), 300, "the end of the job")
        log = requests.get(f"{backend.url}/jobs/{number}/log", timeout=10).text
    assert job["state"] == "done", (job, log)

    command = [sys.executable, "-m", "xsam_backend", "models", "show", job["result"]["version"]]
    shown = subprocess.run([*command, "--data-dir", str(data_dir)], capture_output=True, text=True, check=True).stdout
    assert "learned from 8 pictures" in shown
    assert "left out: 1 tasks, a picture could not be copied yet" in shown
    for sentence in (
        f"task {DAMAGED}: its kept picture is damaged",
        f"task {GONE}: its kept picture is gone",
        f"task {ANOTHER}: its regions were drawn on 300 x 900 px, the picture has 64 x 48",
        "label 'cat' of 4 pictures isn't in the",
    ):
        assert sentence in shown
        assert sentence in log

    learned = open_dataset(data_dir / "jobs" / number / "learned-version.json")
    told = {record.source: sorted(record.load().complete_for or ()) for record in learned.records}
    assert all(isinstance(record, SnapshotRecord) for record in learned.records)
    # Where only the old label is on it, nobody looked for lions: it must not teach that there are none.
    assert told == {f"task {number}": ["cat"] if number in BEFORE else ["lion"] for number in range(104, 112)}


def over(url: str, number: str) -> dict[str, Any] | None:
    job: dict[str, Any] = requests.get(f"{url}/jobs/{number}", timeout=10).json()
    return None if job["state"] in ("queued", "running") else job
