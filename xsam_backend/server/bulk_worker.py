"""The threads that answer the bulk queue, task after task, and write predictions through Label Studio's API.

The rules, in short:

- A prediction is written if, and only if, the task has none of the version that answers. Who began a task before, and
  was killed or doesn't know whether it was stored, makes it be read anew from Label Studio; so nothing is doubled.
- The version of the request answers for as long as it can be loaded; then the one that answers the project now.
- Where Label Studio can't be reached, or refuses the token, everything pauses and no try is counted. Whatever else
  fails costs the task a try; it comes again later, behind the others, and fails for good after some.
- Clicks go first: the model is asked as batches ask it, one stage at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from xsam_backend.errors import (
    BusyError,
    ImageError,
    LabelConfigError,
    LabelStudioError,
    ProjectGoneError,
    XSamBackendError,
)
from xsam_backend.inference.engine import Predictor
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.server.bulk_outcomes import TRIES, after_failure, in_seconds
from xsam_backend.server.bulk_reading import Api, BulkReading
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.protocol import TaskItem
from xsam_backend.server.rounds import Rounds
from xsam_backend.store.bulk_tasks import BulkTask, BulkTasks, Outcome
from xsam_backend.store.projects import ProjectKey

logger = logging.getLogger(__name__)

THREADS = 2
"""While one waits for Label Studio, the other has the model."""

LOOK_EVERY_S = 2.0
"""Also without being woken: tasks to be tried again, and those that another service queued."""

HELD_S = 600.0
"""A task isn't taken from a worker before. Of a killed process on one machine they are free at once."""

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
"""Where Label Studio can't be reached: twice as long each time, up to this."""

Prelabel = Callable[[ProjectKey, TaskItem, LabelConfig, Predictor[Any]], dict[str, Any]]
"""As :meth:`~xsam_backend.server.backend.Backend.prelabel`."""


class BulkWorker(Rounds):
    """Works the queue off, a few tasks beside one another.

    Args:
        predictor_of: what answers a project now.
        predictor_named: one version, whatever it answers; None where it can't be loaded.
        instance: whose projects are worked on.
    """

    def __init__(
        self,
        queue: BulkTasks,
        prelabel: Prelabel,
        api: Api,
        predictor_of: Callable[[str | None], Predictor[Any]],
        predictor_named: Callable[[str], Predictor[Any] | None],
        monitor: Monitor,
        instance: str,
    ) -> None:
        super().__init__("bulk pre-labelling", monitor, LOOK_EVERY_S, threads=THREADS, patience_s=15.0)
        self._queue = queue
        self._prelabel = prelabel
        self._api = api
        self._reading = BulkReading(api, queue)
        self._predictor_of = predictor_of
        self._predictor_named = predictor_named
        self._instance = instance
        self._lock = threading.Lock()
        self._older: Predictor[Any] | None = None
        self._paused = ""
        self._pauses = 0
        self._not_before = 0.0

    @property
    def paused(self) -> str:
        """Why nothing is worked on, though something may wait; empty while nothing hinders."""
        return self._paused if time.monotonic() < self._not_before else ""

    def _round(self) -> None:
        while not self._closing.is_set() and self.work_one():
            pass

    def work_one(self) -> bool:
        """Take the task that is due longest and see it through; False if none is, or all pause.

        Raises:
            StoreError: the queue can't be read or written; the task is due again later.
        """
        if time.monotonic() < self._not_before:
            return False
        task = self._queue.claim(self._instance, in_seconds(HELD_S))
        if task is None:
            self._older = None  # its memory is free again
            return False
        outcome = self._see_through(task)
        if outcome is not None:
            self._queue.settle(task.holder, {task.task_id: outcome})
        return True

    def _see_through(self, task: BulkTask) -> Outcome | None:
        """What came of a task; None where its whole project ended."""
        if task.tries > TRIES:
            return Outcome("failed", error=f"given up: {TRIES} times the process ended while it answered this task")
        key = ProjectKey.parse(task.project_key)
        try:
            try:
                config = self._reading.config_of(key)
            except LabelConfigError as error:
                self._end(task, "failed", error)
                return None
            outcome = self._answer(task, key, config)
        except ProjectGoneError as error:
            self._end(task, "dropped", error)
            return None
        except Exception as error:
            return self._after(error, task)
        self._paused, self._pauses = "", 0
        return outcome

    def _answer(self, task: BulkTask, key: ProjectKey, config: LabelConfig) -> Outcome:
        row = self._reading.task(task)
        if row is None:
            return Outcome("dropped", error="it is not in Label Studio any more")
        predictor = self._predictor(task)
        if any(known.get("model_version") == predictor.model_version for known in row.get("predictions") or ()):
            return Outcome("done")
        data = row.get("data")
        item = TaskItem(task.task_id, data if isinstance(data, dict) else {})
        self._api.add_prediction(task.task_id, self._prelabel(key, item, config, predictor))
        return Outcome("done")

    def _predictor(self, task: BulkTask) -> Predictor[Any]:
        now = self._predictor_of(task.project_key)
        if now.model_version == task.model_version:
            return now
        with self._lock:
            if self._older is None or self._older.model_version != task.model_version:
                self._older = self._predictor_named(task.model_version)
            return self._older or now

    def _end(self, task: BulkTask, state: Any, error: Exception) -> None:
        number = self._queue.end_project(task.project_key, state, str(error))
        words = f"{number} tasks that waited to be pre-labelled are {state}: {error}"
        self._monitor.note(type(error).__name__, f"project {task.project_key}", words)

    def _after(self, error: Exception, task: BulkTask) -> Outcome:
        where = f"project {task.project_key}, task {task.task_id}"
        if isinstance(error, (LabelStudioError, ImageError)) and self._pause_if_down():
            return Outcome("waiting", in_seconds(0), counts=False)
        if isinstance(error, XSamBackendError):
            words = str(error)
            if not isinstance(error, BusyError):
                self._monitor.note(type(error).__name__, where, words)  # tried again, it may fail again: one line
        else:
            words = self._monitor.problem(error, where).message
        return after_failure(error, words, task.tries)

    def _pause_if_down(self) -> bool:
        """Whether Label Studio itself is what's wrong; then everything pauses."""
        try:
            self._api.whoami()
        except LabelStudioError as error:
            with self._lock:
                if time.monotonic() >= self._not_before:
                    wait_s = min(FIRST_PAUSE_S * 2.0 ** min(self._pauses, 20), LONGEST_PAUSE_S)
                    self._not_before = time.monotonic() + wait_s
                    self._pauses += 1
                    self._paused = str(error)
                    self._monitor.note("BulkPaused", "bulk pre-labelling", str(error))
            return True
        return False
