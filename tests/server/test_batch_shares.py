"""Which tasks of a batch are answered in its reply, and which are left to the queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xsam_backend.errors import BusyError, ImageError, PromptError, StoreError
from xsam_backend.server import batch_shares
from xsam_backend.server.batch_shares import QUEUED, QUEUED_BEFORE, RATE_AFTER_S, BatchShares, Share
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.protocol import TaskItem
from xsam_backend.store.bulk_tasks import BulkTasks
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.projects import ProjectKey, Projects

PROJECT = ProjectKey("labels:80", 21, 5)
LIMIT_S = 75.0


class Clock:
    """What ``time`` is to the shares."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Batches:
    """Shares with a queue, and batches whose tasks take a given time each."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.engine = open_database(database_url("store", folder), "store")
        self.clock = clock
        self.queue, self.projects, self.monitor = BulkTasks(self.engine), Projects(self.engine), Monitor()
        self.projects.remember(PROJECT)
        self.woken = 0
        self.shares = self.with_queue(self.queue)

    def with_queue(self, queue: BulkTasks | None) -> BatchShares:
        return BatchShares(queue, self.projects, self.monitor, LIMIT_S, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def ask(
        self, ids: range | list[int], task_s: float, shares: BatchShares | None = None, version: str = "v1"
    ) -> list[str]:
        """What becomes of each task: "answered", or words."""
        tasks = [TaskItem(task_id, {}) for task_id in ids]
        with (shares or self.shares).share(PROJECT, tasks, version) as share:
            return [self._answer(share, task, task_s) for task in tasks]

    def _answer(self, share: Share, task: TaskItem, task_s: float) -> str:
        words = share.why_not_now(task)
        if words is not None:
            return words
        if self.clock.now >= share.deadline:
            return share.ran_out_of_time(task) or "left"
        self.clock.now += task_s
        share.answered(task)
        return "answered"

    def claimable(self) -> list[int]:
        """What the worker would answer now, in order; it keeps it."""
        found = []
        while (task := self.queue.claim(PROJECT.instance, batch_shares.in_seconds(60))) is not None:
            found.append(task.task_id)
        return found


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batches]:
    clock = Clock()
    monkeypatch.setattr(batch_shares, "time", clock)
    made = Batches(tmp_path, clock)
    yield made
    made.engine.dispose()


def test_what_can_be_done_in_time_is_answered_in_the_reply(batches: Batches) -> None:
    assert batches.ask(range(37), 2.0) == ["answered"] * 37
    assert batches.claimable() == []
    assert batches.queue.count() == {"in reply": 37}, "until it's seen that Label Studio has them"


def test_what_cannot_is_left_as_soon_as_the_rate_tells(batches: Batches) -> None:
    begun = batches.clock.now
    said = batches.ask(range(200), 1.0)
    assert said == ["answered"] * 3 + [QUEUED] * 197
    assert batches.clock.now == begun + RATE_AFTER_S, "nobody waits for 75 s to hear that"
    assert batches.claimable() == list(range(3, 200))
    assert batches.woken == 1


def test_a_slow_first_picture_decides_nothing_alone(batches: Batches) -> None:
    tasks = [TaskItem(task_id, {}) for task_id in range(100)]
    with batches.shares.share(PROJECT, tasks, "v1") as share:
        said = [batches._answer(share, task, 2.5 if task.id == 0 else 0.1) for task in tasks]
    assert said == ["answered"] * 100


def test_when_the_time_is_over_the_rest_is_left(batches: Batches) -> None:
    """Four fast ones, and then a slow one: the rate so far told nothing."""
    tasks = [TaskItem(task_id, {}) for task_id in range(8)]
    with batches.shares.share(PROJECT, tasks, "v1") as share:
        said = [batches._answer(share, task, 80.0 if task.id == 4 else 0.1) for task in tasks]
    assert said == ["answered"] * 5 + [QUEUED] * 3
    assert batches.claimable() == [5, 6, 7]


def test_a_doubled_batch_is_answered_at_once_and_changes_nothing(batches: Batches) -> None:
    batches.ask(range(100), 5.0)
    before, now = batches.queue.count(), batches.clock.now
    assert batches.ask(range(100), 5.0) == [QUEUED_BEFORE] * 100
    assert (batches.queue.count(), batches.clock.now) == (before, now)


def test_two_presses_at_the_same_time_answer_each_task_once(batches: Batches) -> None:
    tasks = [TaskItem(task_id, {}) for task_id in range(4)]
    with batches.shares.share(PROJECT, tasks, "v1"):
        assert batches.ask(range(6), 1.0) == [QUEUED_BEFORE] * 4 + ["answered"] * 2


def test_a_new_version_is_asked_for_again(batches: Batches) -> None:
    batches.ask(range(100), 5.0)
    assert batches.ask(range(100), 5.0, version="v2") == ["answered"] + [QUEUED] * 99


def test_one_task_that_is_opened_is_answered_now_and_leaves_no_trace(batches: Batches) -> None:
    assert batches.ask([7], 1.0) == ["answered"]
    assert batches.queue.count() == {}, "it may be a test request, of which nothing is to be stored"


def test_a_batch_leaves_a_task_that_was_opened_just_now_to_that_reply(batches: Batches) -> None:
    """Label Studio may be storing it: nobody can tell, so it's looked at later."""
    assert batches.ask([2], 1.0) == ["answered"]
    assert batches.ask(range(4), 1.0) == ["answered", "answered", QUEUED_BEFORE, "answered"]
    assert batches.queue.count() == {"in reply": 4}
    assert batches.ask([5], 1.0) == ["answered"]
    batches.clock.now += 300
    assert batches.ask(range(5, 7), 1.0) == ["answered"] * 2


def test_one_task_that_waits_is_answered_when_it_is_opened(batches: Batches) -> None:
    batches.ask(range(100), 5.0)
    assert batches.ask([50], 5.0) == ["answered"]
    assert 50 not in batches.claimable(), "it's looked at again only when Label Studio should have stored it"
    assert batches.ask([51], 5.0) == [QUEUED_BEFORE], "the worker has it"
    assert batches.ask([50], 5.0) == [QUEUED_BEFORE], "a reply has it"


def test_one_task_that_finds_no_time_is_queued(batches: Batches) -> None:
    task = TaskItem(7, {})
    with batches.shares.share(PROJECT, [task], "v1") as share:
        assert share.why_not_now(task) is None
        assert share.ran_out_of_time(task) == QUEUED
    assert batches.claimable() == [7]


def test_what_failed_in_the_reply_is_tried_again_where_that_may_help(batches: Batches) -> None:
    tasks = [TaskItem(task_id, {}) for task_id in range(4)] + [TaskItem(None, {}), TaskItem(9, {}, "no data")]
    errors = [ImageError("gone"), PromptError("no phrase"), ZeroDivisionError(), BusyError("clicks")]
    with batches.shares.share(PROJECT, tasks, "v1") as share:
        for task, error in zip(tasks, [*errors, PromptError("no id"), PromptError("no data")], strict=True):
            assert share.why_not_now(task) is None
            if isinstance(error, BusyError):
                assert share.ran_out_of_time(task) == QUEUED
            else:
                share.failed(task, error, str(error))
    assert batches.queue.count() == {"waiting": 3, "failed": 1}
    assert batches.claimable() == [3], "the others come later"
    assert (1, "failed", "no phrase") in batches.queue.troubles(str(PROJECT))


def test_a_request_that_breaks_off_leaves_everything_to_the_queue(batches: Batches) -> None:
    with pytest.raises(RuntimeError), batches.shares.share(PROJECT, [TaskItem(1, {}), TaskItem(2, {})], "v1"):
        raise RuntimeError
    assert batches.claimable() == [1, 2]


def test_a_project_that_never_called_is_queued_for_nobody(batches: Batches) -> None:
    """Anybody may send a batch; a project that is set up is Label Studio's."""
    stranger, tasks = ProjectKey("labels:80", 22, 5), [TaskItem(1, {}), TaskItem(2, {})]
    batches.clock.now += LIMIT_S
    for project in (stranger, None):
        with batches.shares.share(project, tasks, "v1") as share:
            assert share.ran_out_of_time(tasks[0]) is None
    assert batches.queue.count() == {}


def test_without_a_label_studio_what_is_left_is_told_with_what_to_set(batches: Batches) -> None:
    said = batches.ask(range(100), 5.0, batches.with_queue(None))
    assert said == ["answered"] * 15 + ["left"] * 85, "no rate decides: nobody would answer the rest"
    (problem,) = batches.monitor.last_problems
    assert problem.message.startswith("85 of 100 tasks were left without a prediction")
    assert "set label_studio_url and label_studio_token" in problem.message


def test_a_store_that_cannot_be_written_costs_the_queue_only(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(batches.queue, "reserve", full)
        assert batches.ask(range(3), 1.0) == ["answered"] * 3
    monkeypatch.setattr(batches.queue, "settle", full)
    assert batches.ask(range(3), 1.0) == ["answered"] * 3
    assert [problem.message for problem in batches.monitor.last_problems] == ["disk full"] * 2
    assert batches.queue.count() == {"in reply": 3}, "due again by itself"
