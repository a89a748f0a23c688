"""A running job's heart: a thread that says that its worker lives, hears of a cancel, and watches its memory."""

from __future__ import annotations

import logging
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from xsam_backend.errors import JobError, StoreError
from xsam_backend.store.jobs import Job, JobLost, Jobs

logger = logging.getLogger(__name__)

BEAT_EVERY_S = 5.0
WRITE_EVERY_S = 1.0
"""Progress within a stage is written so often at most."""

GRACE_S = 30.0
"""A job that takes too much memory and doesn't reach its next step within this is ended with its process."""

_STATUS = Path("/proc/self/status")
_OWN_MEMORY = re.compile(r"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB", re.MULTILINE)


class JobCancelled(JobError):
    """Somebody wants the job to end."""


class JobStopped(JobError):
    """The worker is to end; the job is for the next one."""


class Heart:
    """Beats inside ``with``. Its :meth:`progress` is what a job calls at every step.

    Args:
        memory_mb: more must not be the process's own; 0: no limit.
    """

    def __init__(
        self, jobs: Jobs, job: Job, is_stopping: Callable[[], bool] = lambda: False, memory_mb: int = 0
    ) -> None:
        self._jobs = jobs
        self._job = job
        self._is_stopping = is_stopping
        self._memory_mb = memory_mb
        self._over: tuple[float, JobError] | None = None
        self._cancel_wanted = False
        self._lost: JobLost | None = None
        self._stage: str | None = None
        self._stage_began = (0.0, 0)
        self._written = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def progress(self, stage: str, step: int = 0, steps: int = 0) -> None:
        """See :class:`~xsam_backend.learning.jobs.Progress`."""
        now = time.monotonic()
        is_new = stage != self._stage
        if is_new:
            self._stage, self._stage_began = stage, (now, step)
        if is_new or now - self._written >= WRITE_EVERY_S:
            self._written = now
            began_at, began_with = self._stage_began
            done = step - began_with
            eta_s = (now - began_at) / done * (steps - step) if done > 0 and steps > step else None
            self._say(stage=stage, step=step, steps=steps, eta_s=eta_s)
        if self._lost is not None:
            raise self._lost
        if self._over is not None:
            raise self._over[1]
        if self._cancel_wanted:
            raise JobCancelled(f"job {self._job.id} was cancelled")
        if self._is_stopping():
            raise JobStopped(f"job {self._job.id}: its worker is to stop")

    def _say(self, **how_far: object) -> None:
        try:
            self._cancel_wanted = self._jobs.beat(self._job, **how_far)  # type: ignore[arg-type]
        except JobLost as lost:
            self._lost = lost
        except StoreError as error:  # a locked database or a full disk passes; a job of hours mustn't fail over it
            logger.warning("%s", error)

    def _beat(self) -> None:
        beaten = time.monotonic()
        while not self._ended.wait(min(1.0, BEAT_EVERY_S)):
            if time.monotonic() - beaten >= BEAT_EVERY_S:
                beaten = time.monotonic()
                self._say()
            if self._memory_mb:
                self._watch_memory()

    def _watch_memory(self) -> None:
        """Measured, since a limit of the kernel's fits badly: RLIMIT_AS counts addresses, of which CUDA and mapped
        weights take far more than memory, and Linux ignores RLIMIT_RSS."""
        used_mb = own_memory_mb()
        if used_mb <= self._memory_mb:
            self._over = None
            return
        if self._over is None:
            self._over = (
                time.monotonic(),
                JobError(
                    f"it takes {used_mb} MB, more than train_memory_mb ({self._memory_mb}): raise that, or "
                    "take a smaller model; serving goes on"
                ),
            )
        began_at, error = self._over
        if time.monotonic() - began_at > GRACE_S:
            logger.error("failed: %s", error)
            try:
                self._jobs.end(self._job, "failed", error=str(error))
            finally:
                os._exit(1)


def peak_memory_mb() -> int:
    """Memory that this process has held at most, mapped files included, in MB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def own_memory_mb() -> int:
    """Memory that only this process holds, in MB: without files that are mapped, which the kernel may drop.

    Raises:
        JobError: this system doesn't tell.
    """
    try:
        return sum(map(int, _OWN_MEMORY.findall(_STATUS.read_text()))) // 1024
    except OSError as error:
        raise JobError(f"train_memory_mb needs {_STATUS}, which only Linux has: set it to 0 here") from error
