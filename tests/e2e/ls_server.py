"""A real Label Studio on a free loopback port, kept off the network, started from a migrated template.

The first start of a clean data folder applies every migration (about a minute on two cores). The freshly migrated
folder is kept as a template below the system's temporary folder, so that later starts take seconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import requests

USERNAME = "admin@example.com"
PASSWORD = "admin-password-1"
TOKEN = "0123456789abcdef0123456789abcdef01234567"  # a legacy token: 40 hex digits
BINARY_VARIABLE = "LABEL_STUDIO_BIN"
DATABASE = "label_studio.sqlite3"


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_binary() -> Path | None:
    """The ``label-studio`` script that the environment names, or the one on the path."""
    named = os.environ.get(BINARY_VARIABLE) or shutil.which("label-studio")
    return Path(named) if named and Path(named).exists() else None


def environment(data_dir: Path, port: int) -> dict[str, str]:
    """Our environment, with Label Studio kept off the network and allowed to talk to loopback."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LABEL_STUDIO_", "HEARTEX_", "DJANGO_"))
    }
    return inherited | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir),
        "LABEL_STUDIO_HOST": f"http://127.0.0.1:{port}",  # what setup sends as hostname
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",  # else every start asks PyPI
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",  # else telemetry, seconds per post when offline
        "LABEL_STUDIO_SENTRY_DSN": "",  # set but empty counts as off
        "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
        "LABEL_STUDIO_FEATURE_FLAGS_OFFLINE": "true",
        "LABEL_STUDIO_ML_BLOCK_LOCAL_IP": "false",  # else backends on 127.0.0.1 are refused
        "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",  # else webhooks to 127.0.0.1 are refused
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


class LabelStudio:
    """``with LabelStudio(binary) as server:`` is a running Label Studio at ``server.url``."""

    def __init__(self, binary: Path, start_limit_s: float = 600.0) -> None:
        self.binary = binary
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = TOKEN
        self._start_limit_s = start_limit_s
        self._folder = tempfile.TemporaryDirectory(prefix="label-studio-", ignore_cleanup_errors=True)
        self._data_dir = Path(self._folder.name)
        self._template = Path(tempfile.gettempdir()) / f"label-studio-template-{self._version()}-{os.getuid()}"
        self._process: subprocess.Popen[bytes] | None = None

    def _version(self) -> str:
        found = sorted(self.binary.parent.parent.glob("lib/python*/site-packages/label_studio-*.dist-info"))
        return found[0].name.split("-")[1].removesuffix(".dist") if found else "unknown"

    def __enter__(self) -> LabelStudio:
        if (self._template / DATABASE).exists():
            shutil.copytree(self._template, self._data_dir, dirs_exist_ok=True)
        self._launch({})
        if not (self._template / DATABASE).exists():
            self._keep_template()
        return self

    def restart(self, changed: Mapping[str, str]) -> None:
        """Stop, and start over the same data with other environment variables."""
        self._end_process()
        self._launch(changed)

    def _launch(self, changed: Mapping[str, str]) -> None:
        command = [str(self.binary), "start", "--no-browser", "--internal-host", "127.0.0.1"]
        command += ["--port", str(self.port), "--data-dir", str(self._data_dir), "--username", USERNAME]
        command += ["--password", PASSWORD, "--user-token", TOKEN, "--enable-legacy-api-token"]
        with (self._data_dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=environment(self._data_dir, self.port) | dict(changed),
                cwd=self._data_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_up(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._start_limit_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"label-studio ended with {self._process.returncode}\n{self.log_tail()}")
            try:
                headers = {"Authorization": f"Token {TOKEN}"}
                if requests.get(f"{self.url}/api/current-user/whoami", headers=headers, timeout=5).ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.3)
        raise TimeoutError(f"label-studio is not up after {self._start_limit_s:.0f} s\n{self.log_tail()}")

    def _keep_template(self) -> None:
        draft = Path(tempfile.mkdtemp(prefix="label-studio-draft-"))
        source = sqlite3.connect(self._data_dir / DATABASE)
        target = sqlite3.connect(draft / DATABASE)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
        if (self._data_dir / ".env").exists():  # the generated secret key
            shutil.copy(self._data_dir / ".env", draft)
        try:
            draft.rename(self._template)
        except OSError:  # another run was faster
            shutil.rmtree(draft)

    def log_tail(self, characters: int = 4000) -> str:
        """The end of the server's log."""
        log = self._data_dir / "server.log"
        return log.read_text(errors="replace")[-characters:] if log.exists() else ""

    def stop(self) -> None:
        """End the process group that we started, and remove its folder."""
        self._end_process()
        self._folder.cleanup()

    def _end_process(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(10)
        self._process = None
