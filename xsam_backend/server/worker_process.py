"""The thread that queues what is due and sees to it that a process works the queue off.

The worker is ``python -m xsam_backend jobs work --once``: detached, so that it outlives this service, and ended when
nothing is left to do, so that an idle machine has its memory back. Whether one is there is told by its lock, not by
a process number: a service that was killed and started again finds the worker that it left behind.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from xsam_backend.config import Settings, environment_of
from xsam_backend.learning.wishes import Wishes
from xsam_backend.learning.worker_places import places
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.rounds import Rounds
from xsam_backend.store.jobs import Jobs

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 300.0
"""A worker that ends although work is left is started again: after twice as long each time, up to this."""

LOG_LIMIT_BYTES = 2**20

KEEPS_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""For glibc: what one step of a training frees is kept for the next. Clean pages would cost a sixth of its time."""


class WorkerKeeper(Rounds):
    """Looks at the queue. A worker outlives it: it loses nothing, and the next service finds it.

    Args:
        folder: where the workers' locks are.
        spawn: starts a worker; None where workers run elsewhere.
    """

    def __init__(
        self,
        jobs: Jobs,
        wishes: Wishes,
        folder: Path,
        monitor: Monitor,
        spawn: Callable[[], subprocess.Popen[bytes]] | None,
    ) -> None:
        super().__init__("jobs", monitor, LOOK_EVERY_S)
        self._jobs = jobs
        self._wishes = wishes
        self._folder = folder
        self._spawn = spawn
        self._worker: subprocess.Popen[bytes] | None = None
        self._ends = 0
        self._not_before = 0.0

    def _round(self) -> None:
        for job in self._wishes.queue_due():
            logger.info("job %d of project %s is queued (%s)", job.id, job.project_key, job.reason)
        if self._spawn is not None:
            self.look()

    def look(self) -> None:
        """Start a worker where there is work, none is there, and the last one didn't end just now.

        Raises:
            StoreError: the queue can't be read. OSError: the worker can't be started.
        """
        assert self._spawn is not None
        ended = None
        if self._worker is not None:
            if self._worker.poll() is None:
                return
            ended, self._worker = self._worker, None
            self._pause()
        known = places(self._folder)
        if not all(known.values()):  # one that an earlier or another service started, or a person
            return
        if ended is not None and ended.returncode != 0:
            self._tell_of(ended)
        if not self._jobs.is_claimable(known):
            self._ends = 0
        elif time.monotonic() >= self._not_before:
            self._worker = self._spawn()
            logger.info("process %d works on the queue of fine-tunings", self._worker.pid)

    def _pause(self) -> None:
        self._not_before = time.monotonic() + min(FIRST_PAUSE_S * 2.0 ** min(self._ends, 30), LONGEST_PAUSE_S)
        self._ends += 1

    def _tell_of(self, ended: subprocess.Popen[bytes]) -> None:
        status = ended.returncode
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        self._monitor.note(
            "WorkerEnded",
            "jobs",
            f"the process that fine-tunes ended with {how}; it is started again while work is left. "
            f"{worker_log(self._folder)} has what it said",
        )


def worker_log(folder: Path) -> Path:
    """What workers say apart from their jobs: why they can't start."""
    return folder / "worker.log"


def spawn_worker(settings: Settings) -> subprocess.Popen[bytes]:
    """Start ``jobs work --once`` with these settings, in a session of its own.

    Raises:
        OSError: it can't be started, or its log can't be written.
    """
    path = worker_log(settings.jobs_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        mode |= os.O_TRUNC
    log = os.open(path, mode, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "xsam_backend", "jobs", "work", "--once"],
            env=KEEPS_MEMORY | environment_of(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
