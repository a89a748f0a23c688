"""What the bulk worker knows of Label Studio's projects and tasks: their truth, asked for as seldom as will do."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from xsam_backend.errors import NotFoundError, ProjectGoneError
from xsam_backend.labelstudio.context import batch_prompts
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.store.bulk_tasks import BulkTask, BulkTasks
from xsam_backend.store.projects import ProjectKey

AHEAD = 20
"""So many of the tasks that come next are read in one question."""

FRESH_S = 60.0
"""So long what was read counts. A task that was begun before is read anew in any case: it may have a prediction."""


class Api(Protocol):
    """What is needed of :class:`~xsam_backend.labelstudio.client.LabelStudioClient`."""

    def whoami(self) -> dict[str, Any]:
        """The token's user."""

    def project(self, project_id: int) -> dict[str, Any]:
        """One project: ``id``, ``created_at``, ``label_config``."""

    def has_project(self, project_id: int) -> bool:
        """Whether it is still there."""

    def chosen_tasks(self, project_id: int, task_ids: Collection[int]) -> list[dict[str, Any]]:
        """Those that the project has, with ``data`` and ``predictions``."""

    def add_prediction(self, task_id: int, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """A new prediction."""


class BulkReading:
    """Reads projects and tasks. Safe to use from several threads."""

    def __init__(self, api: Api, queue: BulkTasks) -> None:
        self._api = api
        self._queue = queue
        self._lock = threading.Lock()
        self._configs: dict[ProjectKey, tuple[float, LabelConfig]] = {}
        self._tasks: dict[tuple[ProjectKey, int], Mapping[str, Any] | None] = {}
        self._tasks_read_at = 0.0

    def config_of(self, key: ProjectKey) -> LabelConfig:
        """The label config that the project has now, with something to pre-label.

        Raises:
            ProjectGoneError: Label Studio has no such project, or another one under its number.
            LabelConfigError: nothing can be pre-labelled with it.
            LabelStudioError: Label Studio can't be asked.
        """
        with self._lock:
            read_at, config = self._configs.get(key, (0.0, None))
            if config is None or time.monotonic() >= read_at + FRESH_S:
                config = self._read_config(key)
                batch_prompts(config)
                self._configs[key] = time.monotonic(), config
            return config

    def _read_config(self, key: ProjectKey) -> LabelConfig:
        try:
            project = self._api.project(key.project_id)
        except NotFoundError:
            if self._api.has_project(key.project_id):
                raise
            project = None
        if project is None or ProjectKey.from_webhook(key.instance, project) != key:
            raise ProjectGoneError(f"project {key} is not in Label Studio any more: its tasks are dropped")
        return LabelConfig.parse(str(project.get("label_config") or ""))

    def task(self, task: BulkTask) -> Mapping[str, Any] | None:
        """The task as Label Studio has it, with ``data`` and ``predictions``; None: the project has no such task.

        Raises:
            ProjectGoneError: Label Studio hasn't the project any more.
            LabelStudioError: Label Studio can't be asked.
        """
        key = ProjectKey.parse(task.project_key)
        with self._lock:
            if time.monotonic() >= self._tasks_read_at + FRESH_S or task.tries > 1:
                self._tasks.clear()
            if (key, task.task_id) not in self._tasks:
                following = self._queue.upcoming(task.project_key, AHEAD) if task.tries == 1 else []
                ids = {task.task_id, *following}
                rows = self._read_tasks(key, ids)
                self._tasks = {(key, task_id): rows.get(task_id) for task_id in ids}
                self._tasks_read_at = time.monotonic()
            return self._tasks.pop((key, task.task_id))

    def _read_tasks(self, key: ProjectKey, ids: Collection[int]) -> dict[int, Mapping[str, Any]]:
        try:
            return {int(row["id"]): row for row in self._api.chosen_tasks(key.project_id, ids)}
        except NotFoundError:  # says Label Studio where there is no such project
            self._configs.pop(key, None)
            self._read_config(key)
            raise
