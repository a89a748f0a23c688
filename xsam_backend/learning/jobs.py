"""What a worker does: claim a job, beat its heart, run it, write down how it ended.

The worker is a process of its own, so nothing that happens to it touches serving. Killed at any moment, it loses
nothing: the job is still "running", without a heartbeat, and the next worker goes on with it.
"""

from __future__ import annotations

import errno
import importlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from xsam_backend.errors import JobError, StoreError, XSamBackendError
from xsam_backend.learning.heart import Heart, JobCancelled, JobStopped, own_memory_mb
from xsam_backend.store.jobs import Job, JobLost, Jobs, Worker

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""A worker that waits for work looks so often."""

_WRITE_AGAIN_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""How a job ended is worth waiting for: a full disk or a locked database may pass."""

_RESERVE = "reserve"
_RESERVE_BYTES = 2**20
"""Laid by in a file, and given up where the disk is full, so that there is room to write down that it is."""


class Progress(Protocol):
    """Tells how far a job is."""

    def __call__(self, stage: str, step: int = 0, steps: int = 0) -> None:
        """``step`` of ``steps`` of a stage are done. Cheap: call it at every step.

        Raises:
            JobCancelled, JobStopped, JobLost: the job must end here, and leave nothing half done. A new stage's name
                is always looked up in the database: name one right before whatever can't be undone.
            JobError: it takes more memory than it may.
        """


class RunJob(Protocol):
    """Does what a job is for."""

    def __call__(self, job: Job, progress: Progress) -> Mapping[str, Any]:
        """What came of it, as JSON can hold it. A job with ``tries`` above 1 was begun before, and goes on.

        Raises:
            XSamBackendError: the job has failed, for this reason.
        """


def fine_tuning(settings: Any) -> RunJob:
    """The real thing, imported when a job is run: it takes seconds and much memory."""

    def run(job: Job, progress: Progress) -> Mapping[str, Any]:
        name = "xsam_backend.learning.fine_tuning"
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise JobError(
                "this version can't fine-tune yet: what annotators accept is kept for one that can"
            ) from None
        result: Mapping[str, Any] = module.fine_tune(job, progress, settings)
        return result

    return run


def work(
    jobs: Jobs,
    run_job: RunJob,
    worker: Worker,
    log_folder: Path,
    *,
    once: bool = False,
    is_stopping: Callable[[], bool] = lambda: False,
    memory_mb: int = 0,
) -> None:
    """Run jobs until none is left (``once``), or until it is to stop.

    Args:
        memory_mb: a job that takes more fails; 0: no limit.

    Raises:
        StoreError: the queue can't be read (only with ``once``), or how a job ended can't be written. No job is lost.
        JobError: this system doesn't tell how much memory a process takes, and there is a limit.
    """
    if memory_mb:
        own_memory_mb()
    while not is_stopping():
        job = None
        try:
            job = jobs.claim(worker)
        except StoreError as error:
            if once:
                raise
            logger.warning("%s", error)
        if job is not None:
            _lay_by(log_folder / _RESERVE)
            _run(jobs, job, run_job, log_folder, Heart(jobs, job, is_stopping, memory_mb))
        elif once:
            return
        else:
            time.sleep(LOOK_EVERY_S)


def _run(jobs: Jobs, job: Job, run_job: RunJob, log_folder: Path, heart: Heart) -> None:
    state: Any = "failed"
    error = result = None
    with heart:
        try:
            with _log(jobs, job, log_folder):
                result = json.loads(json.dumps(run_job(job, heart.progress)))
            state = "done"
        except JobCancelled:
            state = "cancelled"
        except JobStopped:
            logger.info("job %d is left to the next worker", job.id)
            jobs.release(job)
            return
        except JobLost as lost:
            logger.warning("%s", lost)
            return
        except Exception as failure:
            error = failure_in_words(failure)
        _write(lambda: jobs.end(job, state, error=error, result=result), log_folder / _RESERVE)
    logger.info("job %d of project %s: %s", job.id, job.project_key, error or state)


def _lay_by(reserve: Path) -> None:
    try:
        reserve.parent.mkdir(parents=True, exist_ok=True)
        if not reserve.exists():
            reserve.write_bytes(bytes(_RESERVE_BYTES))
    except OSError as error:
        logger.warning("no room is laid by for a full disk: %s", error)


def _write(write: Callable[[], object], reserve: Path) -> None:
    for pause_s in (*_WRITE_AGAIN_S, None):
        try:
            write()
        except JobLost as lost:
            logger.warning("%s", lost)
        except StoreError as error:
            if pause_s is None:
                raise
            logger.warning("%s", error)
            with suppress(OSError):
                reserve.unlink(missing_ok=True)
            time.sleep(pause_s)
            continue
        return


@contextmanager
def _log(jobs: Jobs, job: Job, folder: Path) -> Iterator[None]:
    """Everything that is logged meanwhile goes to the job's file too; so does the reason where it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{job.id}.log"
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        try:
            jobs.note_log(job, str(path))
        except StoreError as error:
            logger.warning("%s", error)
        logger.info("job %d of project %s, try %d", job.id, job.project_key, job.tries)
        yield
    except (JobCancelled, JobStopped, JobLost) as end:
        logger.info("%s", end)
        raise
    except XSamBackendError as error:
        logger.error("failed: %s", error)
        raise
    except Exception as error:
        error.error_id = uuid.uuid4().hex[:12]  # type: ignore[attr-defined]
        logger.exception("error %s", error.error_id)  # type: ignore[attr-defined]
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def failure_in_words(error: Exception) -> str:
    """Why a job failed, for whoever queued it."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    if any(_is_disk_full(one) for one in chain):
        return f"the disk is full ({error}): make room in the data folder and start it again"
    if any(_is_out_of_memory(one) for one in chain):
        return (
            f"no memory left ({str(error)[:200] or type(error).__name__}): give the machine more, or stop what else "
            "runs on it, and start it again; serving goes on"
        )
    if isinstance(error, XSamBackendError):
        return str(error)
    return f"unexpected error {getattr(error, 'error_id', '')}: the job's log has it"


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    said = str(error).lower()  # safetensors and SQLite have errors of their own
    return "no space left on device" in said or "disk is full" in said


def _is_out_of_memory(error: BaseException) -> bool:
    """torch has a class for the GPU's memory and only words for the machine's. Not imported here: it's large."""
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return is_memory or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
