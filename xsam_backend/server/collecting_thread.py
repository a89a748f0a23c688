"""The thread that collects what annotators accept, beside the requests."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from xsam_backend.errors import LabelStudioError, ProjectGoneError, RequestError, StoreError, XSamBackendError
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

MISSED_LIMIT = 1000
"""So many projects of which something was missed are known apart; above, all are synced."""

ASK_FAILURES = 3
"""After so many in a row Label Studio is left alone until the next time, which begins with those behind."""


class CollectingThread(Rounds):
    """Reads the inbox, copies pictures and syncs projects.

    Args:
        on_gone: is told the key of a project that is not in Label Studio any more.
        sync_every: every project is synced so often, since an event that got lost leaves no trace; None: only where
            something is known to be missed.
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
        sync_every: timedelta | None = None,
    ) -> None:
        super().__init__("collecting", monitor, LOOK_EVERY_S)
        self._collector = collector
        self._reader = reader
        self._copies = copies
        self._projects = projects
        self._api = api
        self._instance = instance
        self._on_gone = on_gone
        self._sync_every = sync_every
        self._lock = threading.Lock()
        self._missed = set[str | None]()
        self._to_ask = deque[str]()
        self._not_before: dict[str, float] = {}
        self._failed: dict[str, int] = {}
        self._asked_after = time.monotonic()

    def start(self) -> None:
        """Begin; whatever was missed while no service ran is fetched, if there is an API to ask."""
        if self._api is not None:
            self._miss(None)
        super().start()

    def missed(self, key: ProjectKey) -> None:
        """An event of the project couldn't be kept. Returns at once: as long as the store can't be written, that is
        known here, and after a restart everything is synced."""
        self._miss(str(key))

    def _miss(self, key: str | None) -> None:
        with self._lock:
            self._missed.add(key if len(self._missed) < MISSED_LIMIT else None)

    def _round(self) -> None:
        self._guarded("missed events", self._note_missed)
        self._guarded("inbox", self._take_events)
        self._guarded("pictures", self._copy_pictures)
        if self._api is not None:
            self._guarded("sync", self._sync)
            self._guarded("projects", self._ask_after)

    def _note_missed(self) -> None:
        with self._lock:
            missed, self._missed = self._missed, set()
        try:
            for key in {None} if None in missed else missed:
                self._projects.want_sync(key)
        except StoreError:
            with self._lock:
                self._missed |= missed
            raise

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
                self._sync_one(project, wanted_at)
            except XSamBackendError as error:
                self._monitor.note("SyncFailed", f"project {key}", str(error))
                self._pause(key, failed=True)
            except Exception as error:  # whatever is in a project, those behind it must not wait for it
                self._monitor.problem(error, f"project {key}")
                self._pause(key, failed=True)

    def _sync_one(self, project: ProjectKey, wanted_at: datetime) -> None:
        assert self._api is not None
        key = str(project)
        try:
            synced = self._collector.sync(self._api, project.project_id, project)
        except ProjectGoneError as error:
            self._tell_gone(key, error)
            return
        for problem in synced.problems:
            self._monitor.note("TaskNotUnderstood", f"project {key}", problem)
        logger.info("project %s synced: %d annotations new, %d gone", key, synced.news, synced.deleted)
        self._projects.synced(key, wanted_at)
        self._pause(key, failed=False)

    def _ask_after(self) -> None:
        assert self._api is not None
        if time.monotonic() < self._asked_after + ASK_AFTER_EVERY_S:
            return
        self._asked_after = time.monotonic()
        if self._sync_every is not None:
            self._projects.want_sync_of_old(self._instance, self._sync_every)
        if not self._to_ask:
            self._to_ask.extend(known.key for known in self._projects.all() if known.gone_at is None)
        failed = 0
        while self._to_ask and failed < ASK_FAILURES and not self._closing.is_set():
            project = ProjectKey.parse(self._to_ask.popleft())
            if project.instance != self._instance:
                continue
            try:
                self._collector.ask_after(self._api, project)
                failed = 0
            except ProjectGoneError as error:
                self._tell_gone(str(project), error)
            except (LabelStudioError, RequestError) as error:
                self._monitor.note("NotAskedAfter", f"project {project}", str(error))
                failed += 1

    def _tell_gone(self, key: str, error: ProjectGoneError) -> None:
        self._monitor.note("ProjectGone", f"project {key}", str(error))
        self._on_gone(key)

    def _pause(self, key: str, *, failed: bool) -> None:
        """What fails is tried less and less often. The first sync, at the start or after a setup, delays no hint."""
        if key not in self._failed and not failed:
            self._failed[key] = 0
            return
        self._failed[key] = self._failed.get(key, 0) + 1 if failed else 0
        wait_s = SYNC_AGAIN_AFTER_S * 2.0 ** min(max(self._failed[key] - 1, 0), 10)
        self._not_before[key] = time.monotonic() + min(wait_s, LONGEST_PAUSE_S)
