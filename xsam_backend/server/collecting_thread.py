"""The thread that collects what annotators accept, beside the requests."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from xsam_backend.errors import LabelConfigError, LabelStudioError, ProjectGoneError, RequestError
from xsam_backend.learning.collecting import Collector, LabelStudioApi
from xsam_backend.learning.picture_copies import PictureCopies
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.rounds import Rounds
from xsam_backend.store.inbox_reading import InboxReader
from xsam_backend.store.projects import ProjectKey, Projects

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""Also without being woken: pictures to be tried again, events that another process took in."""

SYNC_AGAIN_AFTER_S = 60.0
"""A project is synced so often at most: hints can be sent by anybody."""

ASK_AFTER_EVERY_S = 300.0
"""No event tells that a project was deleted: Label Studio is asked so often whether it has those that are known."""

LONGEST_PAUSE_S = 3600.0
"""Where that fails again and again."""


class CollectingThread(Rounds):
    """Reads the inbox, copies pictures and syncs projects.

    Args:
        on_gone: is told the key of a project that is not in Label Studio any more.
    """

    def __init__(
        self,
        collector: Collector,
        reader: InboxReader,
        copies: PictureCopies,
        projects: Projects,
        api: LabelStudioApi | None,
        monitor: Monitor,
        instance: str,
        on_gone: Callable[[str], object] = lambda _key: None,
    ) -> None:
        super().__init__("collecting", monitor, LOOK_EVERY_S)
        self._collector = collector
        self._reader = reader
        self._copies = copies
        self._projects = projects
        self._api = api
        self._instance = instance
        self._on_gone = on_gone
        self._not_before: dict[str, float] = {}
        self._failed: dict[str, int] = {}
        self._asked_after = time.monotonic()

    def start(self) -> None:
        """Begin; whatever was missed while no service ran is fetched, if there is an API to ask."""
        if self._api is not None:
            self._guarded("projects", self._projects.want_sync)
        super().start()

    def _round(self) -> None:
        self._guarded("inbox", self._take_events)
        self._guarded("pictures", self._copy_pictures)
        if self._api is not None:
            self._guarded("sync", self._sync)
            self._guarded("projects", self._ask_after)

    def _take_events(self) -> None:
        for event, error in self._collector.take_events(self._reader):
            self._monitor.problem(error, f"event {event.id} ({event.action}) of project {event.project_key}")

    def _copy_pictures(self) -> None:
        for task, problem in self._copies.copy_due():
            if problem:
                self._monitor.note("PictureNotCopied", f"project {task.project_key}, task {task.task_id}", problem)
            if self._closing.is_set():
                return

    def _sync(self) -> None:
        assert self._api is not None
        for key, wanted_at in self._projects.sync_wanted():
            project = ProjectKey.parse(key)
            # Projects of another Label Studio may be known from before: this one has others under their numbers.
            if project.instance != self._instance or time.monotonic() < self._not_before.get(key, 0.0):
                continue
            if self._closing.is_set():
                return
            try:
                synced = self._collector.sync(self._api, project.project_id, project)
            except ProjectGoneError as error:
                self._tell_gone(key, error)
                continue
            except (LabelStudioError, RequestError, LabelConfigError) as error:
                self._monitor.note("SyncFailed", f"project {key}", str(error))
                self._pause(key, failed=True)
                continue
            self._pause(key, failed=False)
            for problem in synced.problems:
                self._monitor.note("TaskNotUnderstood", f"project {key}", problem)
            logger.info("project %s synced: %d annotations new, %d gone", key, synced.news, synced.deleted)
            self._projects.synced(key, wanted_at)

    def _ask_after(self) -> None:
        assert self._api is not None
        if time.monotonic() < self._asked_after + ASK_AFTER_EVERY_S:
            return
        self._asked_after = time.monotonic()
        for known in self._projects.all():
            project = ProjectKey.parse(known.key)
            if project.instance != self._instance or known.gone_at is not None or self._closing.is_set():
                continue
            try:
                self._collector.ask_after(self._api, project)
            except ProjectGoneError as error:
                self._tell_gone(known.key, error)

    def _tell_gone(self, key: str, error: ProjectGoneError) -> None:
        self._monitor.note("ProjectGone", f"project {key}", str(error))
        self._on_gone(key)

    def _pause(self, key: str, *, failed: bool) -> None:
        """What fails is tried less and less often."""
        self._failed[key] = self._failed.get(key, 0) + 1 if failed else 0
        wait_s = SYNC_AGAIN_AFTER_S * 2.0 ** min(max(self._failed[key] - 1, 0), 10)
        self._not_before[key] = time.monotonic() + min(wait_s, LONGEST_PAUSE_S)
