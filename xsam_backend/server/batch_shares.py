"""What of a batch is answered in the reply, and what is left to the bulk queue.

Label Studio waits 100 s for a batch of whatever size, and drops all of it when it comes later. So:

- Tasks of a batch are reserved in the queue first. A request that is doubled, or a service that is killed in the
  middle, changes nothing: what is reserved is answered once.
- They are answered in order for as long as all can be done in time. Once the rate so far says that they can't, or the
  time is over, the rest goes to the queue at once, and each of its entries says so, without a ``result``.
- What is queued already stays there. Only a request about one task, which somebody is opening, takes it out of the
  queue to answer it now. A single task that isn't queued has no row, since "send test request" must store nothing;
  a batch that comes meanwhile counts it as answered.
- Nobody tells whether Label Studio stored a reply. What was answered stays in the queue until the worker has seen the
  prediction there.

Without an address and a token of Label Studio there is no queue: what doesn't fit is left for the next request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from xsam_backend.errors import StoreError
from xsam_backend.server.bulk_outcomes import after_failure, in_seconds
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.protocol import TaskItem
from xsam_backend.store.bulk_tasks import BulkTasks, Outcome, Reserved
from xsam_backend.store.projects import ProjectKey, Projects

RATE_AFTER_S = 3.0
"""So long the rate isn't believed: the first pictures may be slow."""

STORED_AFTER_S = 120.0
"""So long after a reply Label Studio may still be storing it; then it's looked whether it did."""

QUEUED = "queued: it is answered in the background, and written through Label Studio's API"
QUEUED_BEFORE = "queued already: its prediction is written through Label Studio's API as soon as it is there"

_NOTHING = Reserved("", frozenset(), frozenset())


class Share:
    """One request's tasks. For the thread that answers it."""

    def __init__(self, limit_s: float, reserved: Reserved | None, opened: Collection[int]) -> None:
        """``reserved``: None where nothing can be queued. ``opened``: tasks that replies of their own answer."""
        self.reserved = reserved or _NOTHING
        self.can_queue = reserved is not None
        self.left = 0
        self.late: list[int] = []
        self.outcomes: dict[int, Outcome | None] = dict.fromkeys(self.reserved.mine.intersection(opened))
        self._begun = time.monotonic()
        self._limit_s = limit_s
        self._seen = 0

    @property
    def deadline(self) -> float:
        """``time.monotonic()`` after which no stage of the model may begin."""
        return self._begun + self._limit_s

    def why_not_now(self, task: TaskItem) -> str | None:
        """Words for the entry of a task that isn't to be answered in this reply; None: answer it."""
        if task.id in self.reserved.others or task.id in self.outcomes:
            return QUEUED_BEFORE
        if task.id in self.reserved.mine and self._is_too_much():
            return QUEUED
        self._seen += 1
        return None

    def answered(self, task: TaskItem) -> None:
        """Its prediction is in the reply."""
        if task.id in self.reserved.mine:
            self.outcomes[task.id] = None

    def failed(self, task: TaskItem, error: Exception, words: str) -> None:
        """It couldn't be answered; what is worth another try stays in the queue."""
        if task.id in self.reserved.mine:
            self.outcomes[task.id] = after_failure(error, words, tries=1)

    def ran_out_of_time(self, task: TaskItem) -> str | None:
        """As ``failed``, for want of time alone; words for its entry if it's queued now, else None."""
        if task.id in self.reserved.mine:
            return QUEUED
        if self.can_queue and task.id is not None:
            self.late.append(task.id)
            return QUEUED
        self.left += 1
        return None

    def _is_too_much(self) -> bool:
        so_far_s = time.monotonic() - self._begun
        if so_far_s >= self._limit_s:
            return True
        to_do = len(self.reserved.mine) - len(self.outcomes)
        return (
            so_far_s >= RATE_AFTER_S and self._seen > 0 and so_far_s / self._seen * to_do > self._limit_s - so_far_s
        )


class BatchShares:
    """Divides batches. Safe to use from several threads.

    Args:
        queue: None: nobody could write what is queued into Label Studio.
        limit_s: from a request's arrival on, in which tasks may be begun.
        wake: is called when something waits in the queue.
    """

    def __init__(
        self,
        queue: BulkTasks | None,
        projects: Projects,
        monitor: Monitor,
        limit_s: float,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        self._queue = queue
        self._projects = projects
        self._monitor = monitor
        self._limit_s = limit_s
        self._wake = wake
        self._lock = threading.Lock()
        self._opened: dict[tuple[ProjectKey, int], float] = {}

    @contextmanager
    def share(self, project: ProjectKey | None, tasks: Sequence[TaskItem], model_version: str) -> Iterator[Share]:
        """The tasks of a request, reserved for the length of the block."""
        reserved = self._reserve(project, tasks, model_version)
        share = Share(self._limit_s, reserved, self._opened_now(project) if len(tasks) > 1 else ())
        if project is not None and reserved is not None and len(tasks) == 1:
            self._opens(project, tasks[0])
        try:
            yield share
        finally:
            if project is not None and reserved is not None:
                self._settle(project, share, model_version)
            elif share.left:
                self._tell(project, share.left, len(tasks))

    def _reserve(self, project: ProjectKey | None, tasks: Sequence[TaskItem], model_version: str) -> Reserved | None:
        if self._queue is None or project is None:
            return None
        ids = [task.id for task in tasks if task.id is not None and task.problem is None]
        try:
            if not self._projects.knows(project):  # anybody may send a batch
                return None
            return self._queue.reserve(str(project), ids, model_version, self._until(), queued_only=len(tasks) == 1)
        except StoreError as error:
            self._monitor.problem(error, f"project {project}")
            return None

    def _opens(self, project: ProjectKey, task: TaskItem) -> None:
        if task.id is not None:
            with self._lock:
                if len(self._opened) > 10_000:  # requests need no proof: don't let anyone fill the memory
                    self._opened.clear()
                self._opened[project, task.id] = time.monotonic() + self._limit_s + STORED_AFTER_S

    def _opened_now(self, project: ProjectKey | None) -> Collection[int]:
        now = time.monotonic()
        with self._lock:
            self._opened = {one: until for one, until in self._opened.items() if until > now}
            return [task_id for key, task_id in self._opened if key == project]

    def _settle(self, project: ProjectKey, share: Share, model_version: str) -> None:
        assert self._queue is not None
        stored_at = in_seconds(STORED_AFTER_S)
        outcomes = {task_id: outcome or Outcome("in reply", stored_at) for task_id, outcome in share.outcomes.items()}
        try:
            self._queue.settle(share.reserved.holder, outcomes)
            if share.late:
                late = self._queue.reserve(str(project), share.late, model_version, self._until())
                self._queue.settle(late.holder, {})
        except StoreError as error:  # what is reserved is due again by itself
            self._monitor.problem(error, f"project {project}")
        self._wake()

    def _until(self) -> datetime:
        return in_seconds(self._limit_s + STORED_AFTER_S)

    def _tell(self, project: ProjectKey | None, left: int, asked: int) -> None:
        if self._queue is None:
            self._monitor.note(
                "BulkNeedsLabelStudio",
                f"project {project}",
                f"{left} of {asked} tasks were left without a prediction, since they didn't fit into batch_limit_s: "
                "set label_studio_url and label_studio_token, and what doesn't fit is answered in the background",
            )
