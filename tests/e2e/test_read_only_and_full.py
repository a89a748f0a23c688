"""A disk that fills up under a running service, a volume that is read-only: what is answered, and how it is told.

A real mount in a namespace of its own; skipped where the system doesn't allow one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
UNSHARE = ["unshare", "--map-root-user", "--mount"]

SCRIPT = """
import subprocess, sys, time
from pathlib import Path
import requests
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
from backend_process import BackendProcess
from test_serving import click_on

folder = Path(sys.argv[3])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", folder], check=True)
data = folder / "data"
with BackendProcess(data) as backend:
    assert click_on(backend).status_code == 200
    def post(number):
        event = {"action": "X", "tasks": [{"id": number}]}
        return requests.post(f"{backend.url}/webhook", json=event, timeout=10)
    def ready(status):
        deadline = time.monotonic() + 30
        while True:
            answer = requests.get(f"{backend.url}/health/ready", timeout=5)
            if answer.status_code == status:
                return answer.json()
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.2)
    assert post(1).status_code == 201
    filler = folder / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], stderr=subprocess.DEVNULL)
    answers = [post(number) for number in range(2, 40)]
    statuses = [answer.status_code for answer in answers]
    print("events", sorted(set(statuses)), " ".join(answers[-1].text.split()), flush=True)
    print("click", click_on(backend).status_code)
    print("health", requests.get(f"{backend.url}/health", timeout=1).status_code)
    print("lacking", ready(503)["lacking"])
    filler.unlink()
    ready(200)
    print("after", post(99).status_code, click_on(backend).status_code)
    kept = requests.get(f"{backend.url}/status", timeout=5).json()["events"]["X"]
    assert kept == 2 + statuses.count(201), (kept, statuses)
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
again = BackendProcess(data)
again.log_file = Path(sys.argv[2])
try:
    again.__enter__()
except RuntimeError as error:
    print("read-only", " ".join(str(error).split()))
"""


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    mount = ["sh", "-c", "mount -t tmpfs tmpfs /mnt && mount -o remount,ro /mnt"]
    return subprocess.run([*UNSHARE, *mount], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="mounting a tmpfs in a namespace of one's own is not allowed here")
def test_a_disk_that_fills_up_and_a_volume_that_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    command = [*UNSHARE, sys.executable, "-c", SCRIPT, str(HERE), str(tmp_path / "log"), str(tmp_path / "disk")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert said["click"] == "200", "annotators get their regions; the operator is told"
    assert said["health"] == "200"
    assert said["events"].startswith("[503] "), "what can't be kept isn't acknowledged"
    assert "disk is full: make room" in said["events"]
    assert "disk" in said["lacking"]
    assert said["after"] == "201 200", "nothing need be restarted"
    assert "cannot start: cannot open" in said["read-only"]
    assert "check that the folder exists and may be written" in said["read-only"]
    assert "Traceback" not in said["read-only"]
