"""Our backend as a process of its own, as operators run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import requests
from ls_server import free_port

HERE = Path(__file__).parent


class BackendProcess:
    """``with BackendProcess(data_dir, ...) as backend:`` answers at ``backend.url``.

    Without ``model`` it serves the fake predictor, or one that ``sees`` painted pictures, else
    ``python -m xsam_backend serve --model MODEL``.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        model: str | None = None,
        answer_s: float = 0.0,
        sees: bool = False,
        settings: Mapping[str, str] | None = None,
        start_limit_s: float = 120.0,
    ) -> None:
        self.data_dir = data_dir
        self.is_fake = model is None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = (
            [sys.executable, str(HERE / "serve_fake.py"), str(self.port), str(data_dir), str(answer_s)]
            + ["seeing"] * sees
            if model is None
            else [sys.executable, "-m", "xsam_backend", "serve", "--model", model, "--port", str(self.port)]
            + ["--data-dir", str(data_dir)]
        )
        # A worker outlives its service; tests that want one say so.
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", "XSAM_BACKEND_TRAIN_WORKER": "false"}
        self._environment |= {f"XSAM_BACKEND_{name.upper()}": value for name, value in (settings or {}).items()}
        self._start_limit_s = start_limit_s
        self.log_file = data_dir.parent / f"backend-{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> BackendProcess:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + self._start_limit_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the backend ended with {self.process.returncode}\n{self.log}")
            try:
                if requests.get(f"{self.url}/health", timeout=5).status_code in (200, 401):
                    return self
            except requests.RequestException:
                time.sleep(0.1)
        self.kill()
        raise TimeoutError(f"the backend is not up after {self._start_limit_s:.0f} s\n{self.log}")

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()

    def terminate(self) -> None:
        """Ask it to stop, as systemd and Docker do."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End master and worker at once, with SIGKILL."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    @property
    def log(self) -> str:
        """Everything that it has said."""
        return self.log_file.read_text(errors="replace")
