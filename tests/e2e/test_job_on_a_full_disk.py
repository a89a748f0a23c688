"""A worker that fills a real disk, a small tmpfs in a mount namespace of its own: its job fails, and says why."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

UNSHARE = ["unshare", "--map-root-user", "--mount"]

SCRIPT = """
import json, sys
from datetime import datetime, timezone
from pathlib import Path
from xsam_backend.learning import jobs
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.jobs import Jobs, Worker
folder = Path(sys.argv[1])
engine = open_database(database_url("store", folder), "store")
queue = Jobs(engine)
worker = Worker("here/cpu", "here", 1, datetime.now(timezone.utc))

def fill(job, progress):
    progress("training", 1, 2)
    with (folder / "state.pt").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))

queue.queue("local/1.1", "button")
jobs.work(queue, fill, worker, folder / "jobs", once=True)
full = queue.latest()[0].as_json()
(folder / "state.pt").unlink()
queue.queue("local/1.1", "button")
jobs.work(queue, lambda job, progress: {"version": "v"}, worker, folder / "jobs", once=True)
print(json.dumps([full, queue.latest()[0].as_json()]))
"""


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    mount = ["sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run([*UNSHARE, *mount], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="a tmpfs can't be mounted here: that takes Linux's user namespaces")
def test_a_full_disk_ends_the_job_in_words_and_room_lets_the_next_one_run(tmp_path: Path) -> None:
    mount_and_run = 'mount -t tmpfs -o size=4m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", mount_and_run, "sh", str(tmp_path), sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    full, after = json.loads(done.stdout)
    assert full["state"] == "failed"
    assert full["error"].startswith("the disk is full ([Errno 28]")
    assert (after["state"], after["result"]) == ("done", {"version": "v"})
