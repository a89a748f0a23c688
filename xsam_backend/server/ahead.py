"""The thread that encodes what will be asked about next, while nobody wants the model.

Whoever opens a task or clicks in it goes on to the project's next ones, in the order of their numbers. Their pictures
are encoded as soon as the model has been idle for a moment, so that the first click there is as fast as the second.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from xsam_backend.errors import BusyError, XSamBackendError
from xsam_backend.inference.engine import Asker, Engine
from xsam_backend.inference.scheduling import Priority
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.recent_images import Images
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.rounds import Rounds
from xsam_backend.store.projects import ProjectKey

logger = logging.getLogger(__name__)

IDLE_S = 0.3
"""An annotator who has just clicked may click again: the model is left alone so long."""

PROJECTS = 50
"""So many are worked for at once; of others, the first click has to wait."""


class Api(Protocol):
    """What is needed of :class:`~xsam_backend.labelstudio.client.LabelStudioClient`."""

    def tasks_after(self, project_id: int, task_id: int, count: int) -> list[dict[str, Any]]:
        """The next ones, with ``id`` and ``data``."""


@dataclass(frozen=True)
class _Place:
    """Where somebody is in a project."""

    task_id: int
    config: LabelConfig


class Ahead(Rounds):
    """Looks ahead when somebody is somewhere. What can't be fetched or asked of Label Studio now is passed over:
    whoever comes to it sees why.

    Args:
        tasks: so many of the next ones.
    """

    def __init__(self, api: Api, images: Images, engine: Engine, monitor: Monitor, tasks: int) -> None:
        super().__init__("ahead", monitor, None, patience_s=15.0)
        self._api, self._images, self._engine, self._tasks = api, images, engine, tasks
        self._lock = threading.Lock()
        self._places: OrderedDict[ProjectKey, _Place] = OrderedDict()
        self._done: dict[ProjectKey, int] = {}

    def somebody_is_at(self, project: ProjectKey, task_id: int, config: LabelConfig) -> None:
        """A task was opened, or clicked in."""
        with self._lock:
            if self._done.get(project) == task_id:
                return
            self._places[project] = _Place(task_id, config)
            self._places.move_to_end(project)
            while len(self._places) > PROJECTS:
                self._places.popitem(last=False)
        self.wake()

    def _round(self) -> None:
        while not self._closing.is_set() and self._work_one():
            pass

    def _work_one(self) -> bool:
        """Look ahead in the project where somebody was last; False where there is none."""
        with self._lock:
            if not self._places:
                return False
            project, place = self._places.popitem()
            self._done[project] = place.task_id
            while len(self._done) > PROJECTS:
                del self._done[next(iter(self._done))]
        with self._told(project):
            for row in self._api.tasks_after(project.project_id, place.task_id, self._tasks):
                with self._told(project):
                    data = row.get("data")
                    for url in place.config.addresses(data if isinstance(data, dict) else {}):
                        self._encode(project, int(row["id"]), url)
        return True

    @contextmanager
    def _told(self, project: ProjectKey) -> Iterator[None]:
        """The thread must live on: nobody would start it again."""
        where = f"project {project}, pictures ahead"
        try:
            yield
        except XSamBackendError as error:
            logger.info("%s: %s", where, error)
        except Exception as error:
            self._monitor.problem(error, where)

    def _encode(self, project: ProjectKey, task_id: int, url: str) -> None:
        while self._engine.idle_s < IDLE_S:
            if self._closing.wait(IDLE_S):
                return
        try:
            image = self._images.fetch(url, task_id)
            asker = Asker(Priority.AHEAD, predictor=self._engine.predictor_of(str(project)))
            self._engine.prepare(image.pixels, image.sha256, asker)
        except BusyError:  # others have the model all the time
            return
