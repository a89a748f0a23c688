"""The demo as a person starts it, on a real Label Studio; twice, since the second start must find what was made.

``LABEL_STUDIO_BIN`` names the Label Studio to use; that the demo can install one of its own is tried with
``TEST_INSTALLATION`` set, in ``test_readme.py``.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ls_client import LsClient
from ls_server import find_binary
from test_label_studio import HAS_TINY

from xsam_backend.demo.folder import DemoFolder

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not HAS_TINY, reason="the weights of tiny are not in this checkout"),
    pytest.mark.skipif(find_binary() is None, reason="Label Studio is not installed: set LABEL_STUDIO_BIN"),
]

START_LIMIT_S = 1800


class Demo:
    """A running ``xsam-backend demo``."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path, log: Path) -> None:
        self.process = process
        self.folder = data_dir / "demo"
        self._log = log
        self.said = ""

    def wait_until_up(self) -> None:
        """Wait for its announcement, all of it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if "A phrase:" in line:
                return
        raise AssertionError(f"the demo ended\n{self.log}")

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def client(self) -> LsClient:
        url = re.search(r"http://127\.0\.0\.1:\d+", self.said)
        assert url is not None
        return LsClient(url[0], DemoFolder(self.folder).login().token)

    def children(self) -> dict[str, int]:
        """Process ids of both servers, by a word of their command lines."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if int(parent) == self.process.pid:
                found["backend" if "xsam_backend" in words else "label-studio"] = int(folder.name)
        return found


@contextmanager
def demo(data_dir: Path, *arguments: str) -> Iterator[Demo]:
    command = [sys.executable, "-m", "xsam_backend", "demo", "--data-dir", str(data_dir)]
    command += ["--label-studio", str(find_binary()), *arguments]
    log = data_dir.parent / "demo.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
    try:
        yield Demo(process, data_dir, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(120)
        assert process.stdout is not None
        process.stdout.close()


def is_gone(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def wait_until_gone(process_ids: list[int]) -> None:
    end = time.monotonic() + 60
    while not all(is_gone(process_id) for process_id in process_ids):
        assert time.monotonic() < end, "orphans"
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for child processes in /proc")
def test_from_nothing_to_pre_labelled_pictures_and_again(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with demo(data_dir) as first:
        first.wait_until_up()
        login = DemoFolder(first.folder).login()
        assert login.email in first.said
        assert first.said.count(login.password) == 1
        assert login.password not in first.log
        client = first.client
        (project,) = client.call("GET", "/api/projects/")["results"]
        assert project["title"] == "X-SAM demo"
        tasks = client.tasks(project["id"])
        assert len(tasks) == (12 if "going on with the drawn pictures only" not in first.log else 6)
        assert all(len(task["predictions"]) == 1 for task in tasks)
        (backend,) = client.call("GET", f"/api/ml?project={project['id']}")
        assert backend["is_interactive"]
        assert backend["state"] == "CO"
        children = first.children()
        assert set(children) == {"backend", "label-studio"}
        for child in children.values():
            words = Path(f"/proc/{child}/cmdline").read_text()
            assert login.password not in words
            assert login.token not in words

        busy = subprocess.run(
            [sys.executable, "-m", "xsam_backend", "demo", "--data-dir", str(data_dir)],
            capture_output=True,
            text=True,
        )
        assert busy.returncode == 1
        assert f"already (process {first.process.pid})" in busy.stderr

        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(120) == 0
        wait_until_gone(list(children.values()))

    with free_port() as taken, demo(data_dir, "--port", str(taken)) as refused:
        assert refused.process.wait(120) == 1
        assert f"port {taken}, asked for with --port, is taken" in refused.log

    with free_port() as port:
        pass
    with demo(data_dir, "--port", str(port)) as second:
        second.wait_until_up()
        assert login.password in second.said
        (again,) = second.client.call("GET", "/api/projects/")["results"]
        assert again["id"] == project["id"]
        assert "uploading" not in second.log
        assert "pre-labelling" not in second.log
        (moved,) = second.client.call("GET", f"/api/ml?project={project['id']}")
        assert moved["url"] == f"http://127.0.0.1:{port}"
        assert moved["state"] == "CO"
        (webhook,) = second.client.webhooks(project["id"])
        assert webhook["url"] == f"http://127.0.0.1:{port}/webhook"
        assert [len(task["predictions"]) for task in second.client.tasks(project["id"])] == [1] * len(tasks)

        children = second.children()
        os.kill(children["backend"], signal.SIGKILL)
        assert second.process.wait(120) == 1
        assert "error: the backend was ended by signal 9" in second.log
        assert "logs/backend.log" in second.log
        wait_until_gone(list(children.values()))


@contextmanager
def free_port() -> Iterator[int]:
    """A port that is ours inside the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        probe.listen()
        yield probe.getsockname()[1]
