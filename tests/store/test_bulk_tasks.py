"""The queue of bulk pre-labelling: who holds a task, what a doubled request changes, what a kill leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine

from xsam_backend.errors import StoreError
from xsam_backend.store import bulk_tasks
from xsam_backend.store.bulk_progress import STATES, Progress
from xsam_backend.store.bulk_tasks import LATELY, BulkTask, BulkTasks, Outcome, Reserved

HERE, KEY, OTHER = "labels:80", "labels:80/21.5", "labels:80/22.6"
DONE = Outcome("done")


def later(seconds: float = 60) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


@pytest.fixture
def queue(opened: Callable[..., Engine]) -> BulkTasks:
    return BulkTasks(opened("store"))


def queued(queue: BulkTasks, *task_ids: int, key: str = KEY, version: str = "v1") -> None:
    """Wait from now on, as a batch leaves them that had no time for any."""
    queue.settle(queue.reserve(key, task_ids, version, later()).holder, {})


def claimed(queue: BulkTasks) -> BulkTask:
    task = queue.claim(HERE, later(3600))
    assert task is not None
    return task


def counts(queue: BulkTasks, key: str = KEY) -> dict[str, int]:
    (found,) = (one.counts for one in queue.progress() if one.project_key == key)
    return {state: number for state, number in found.items() if number}


def test_a_batch_leaves_in_order_what_it_did_not_answer(queue: BulkTasks) -> None:
    held = queue.reserve(KEY, [4, 1, 9, 7], "v1", later())
    assert held == Reserved(held.holder, frozenset({1, 4, 7, 9}), frozenset())
    assert queue.claim(HERE, later()) is None, "a request has them all"
    queue.settle(held.holder, {1: Outcome("in reply", later()), 4: Outcome("failed", error="gone")})
    assert counts(queue) == {"in reply": 1, "failed": 1, "waiting": 2}
    assert [claimed(queue).task_id for _ in range(2)] == [7, 9]
    assert queue.claim(HERE, later()) is None, "of the answered one it isn't known yet whether it was stored"
    assert queue.troubles(KEY) == [(4, "failed", "gone")]


def test_a_doubled_request_changes_nothing(queue: BulkTasks) -> None:
    first = queue.reserve(KEY, [1, 2, 3], "v1", later())
    assert queue.reserve(KEY, [1, 2, 3], "v1", later()).others == {1, 2, 3}
    queue.settle(first.holder, {1: Outcome("in reply", later())})
    working = claimed(queue)
    before = queue.progress()
    again = queue.reserve(KEY, [1, 2, 3, 4], "v1", later())
    assert (again.mine, again.others) == ({4}, {1, 2, 3})
    queue.settle(again.holder, {})
    queue.settle(working.holder, {working.task_id: DONE})
    assert before[0].counts["working"] == 1
    assert counts(queue) == {"in reply": 1, "done": 1, "waiting": 2}


def test_the_same_task_of_another_project_is_another(queue: BulkTasks) -> None:
    queued(queue, 1)
    assert queue.reserve(OTHER, [1], "v1", later()).mine == {1}


def test_what_waits_for_an_older_version_waits_for_the_one_asked_last(queue: BulkTasks) -> None:
    queued(queue, 1, 2)
    working = claimed(queue)
    answered = queue.reserve(KEY, [3], "v1", later())
    queue.settle(answered.holder, {3: Outcome("in reply", later())})
    newer = queue.reserve(KEY, [1, 2, 3], "v2", later())
    assert (newer.mine, newer.others) == ({2, 3}, {1}), "what is under way stays"
    queue.settle(newer.holder, {})
    assert (working.model_version, claimed(queue).model_version, claimed(queue).model_version) == ("v1", "v2", "v2")


def wait_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until no request can be on its way any more that doesn't know what was done."""
    now = later(0) + LATELY
    monkeypatch.setattr(bulk_tasks, "_now", lambda: now)


def with_two_over(queue: BulkTasks) -> None:
    """Of three tasks, one failed and one was done."""
    queued(queue, 1, 2, 3)
    first, second = claimed(queue), claimed(queue)
    queue.settle(first.holder, {1: Outcome("failed", error="gone")})
    queue.settle(second.holder, {2: DONE})


def test_what_is_over_is_begun_anew_when_it_is_asked_for_again(
    queue: BulkTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_two_over(queue)
    wait_a_while(monkeypatch)
    again = queue.reserve(KEY, [1, 2, 3], "v1", later(3600))
    assert (again.mine, again.others) == ({1, 2}, {3})
    queue.settle(again.holder, {})
    assert queue.troubles(KEY) == []
    assert [claimed(queue).tries for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("one", [False, True])
def test_what_is_over_since_a_moment_ago_is_left_to_the_worker(queue: BulkTasks, one: bool) -> None:
    """Label Studio chose the tasks before it heard of their predictions: the worker looks, and finds them."""
    with_two_over(queue)
    again = [queue.reserve(KEY, [1], "v2", later(), queued_only=True) for _ in range(2 * one)]
    again += [queue.reserve(KEY, [1, 2], "v2", later())]
    assert [(held.mine, held.others) for held in again] == [(set(), {1})] * 2 * one + [(set(), {1, 2})]
    found = [claimed(queue) for _ in range(3)]
    assert [(task.task_id, task.tries, task.model_version) for task in found] == [
        (3, 1, "v1"),
        (1, 2, "v2"),
        (2, 2, "v2"),
    ]


def test_counts_begin_anew_once_nothing_was_left(queue: BulkTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    queued(queue, 1)
    queued(queue, 1, key=OTHER)
    task = claimed(queue)
    queue.settle(task.holder, {1: DONE})
    queued(queue, 2)
    assert counts(queue) == {"done": 1, "waiting": 1}
    task = claimed(queue)
    assert task.project_key == OTHER
    task = claimed(queue)
    queue.settle(task.holder, {2: DONE})
    wait_a_while(monkeypatch)
    queued(queue, 3)
    assert counts(queue) == {"waiting": 1}
    assert counts(queue, OTHER) == {"working": 1}, "another project's stay"


def test_a_request_about_one_task_takes_what_waits_and_nothing_else(queue: BulkTasks) -> None:
    queued(queue, 1, 2)
    working = claimed(queue)
    asked = [queue.reserve(KEY, [task_id], "v2", later(), queued_only=True) for task_id in (1, 2, 3)]
    assert [(one.mine, one.others) for one in asked] == [(set(), {1}), ({2}, set()), (set(), set())]
    assert queue.claim(HERE, later()) is None
    queue.settle(asked[1].holder, {})
    back = claimed(queue)
    assert (working.task_id, back.task_id, back.tries) == (1, 2, 1)


def test_only_who_holds_a_task_may_say_what_came_of_it(queue: BulkTasks) -> None:
    queued(queue, 1)
    lost = queue.claim(HERE, later(-1))
    assert lost is not None
    found = claimed(queue)
    assert (found.task_id, found.tries) == (1, 2), "its holder had time until a second ago"
    queue.settle(lost.holder, {1: Outcome("failed", error="too late")})
    assert counts(queue) == {"working": 1}
    queue.settle(found.holder, {1: DONE})
    assert counts(queue) == {"done": 1}


def test_after_a_kill_everything_held_is_free_and_comes_last(queue: BulkTasks) -> None:
    queued(queue, 1, 2, 3)
    killed = claimed(queue)
    reply = queue.reserve(KEY, [4], "v1", later())
    answered = queue.reserve(KEY, [5], "v1", later())
    queue.settle(answered.holder, {5: Outcome("in reply", later())})
    assert queue.recover() == 2
    order = [claimed(queue) for _ in range(4)]
    assert [(one.task_id, one.tries) for one in order] == [(2, 1), (3, 1), (1, 2), (4, 2)]
    assert queue.claim(HERE, later()) is None, "what was answered is looked at when it is due"
    queue.settle(killed.holder, {1: DONE})
    queue.settle(reply.holder, {4: DONE})
    assert "done" not in counts(queue)


def test_a_try_that_was_none_is_given_back(queue: BulkTasks) -> None:
    queued(queue, 1)
    first = claimed(queue)
    queue.settle(first.holder, {1: Outcome("waiting", later(-1), "Label Studio is down", counts=False)})
    assert queue.troubles(KEY) == [(1, "waiting", "Label Studio is down")]
    assert claimed(queue).tries == 1
    assert queue.troubles(KEY) == []


def test_the_next_ones_of_a_project_that_nobody_has_begun(queue: BulkTasks) -> None:
    queued(queue, 1, 2, 3, 4)
    queued(queue, 9, key=OTHER)
    tried = claimed(queue)
    queue.settle(tried.holder, {1: Outcome("waiting", later(-1), "try again")})
    assert queue.upcoming(KEY, 2) == [2, 3]
    assert queue.upcoming(KEY, 20) == [2, 3, 4]


def test_tasks_of_another_label_studio_are_left_alone(queue: BulkTasks) -> None:
    queued(queue, 1, key="labels:8/21.5")
    queued(queue, 2, key="labels%80/21.5")
    assert queue.claim(HERE, later()) is None
    assert queue.claim("labels:8", later()) is not None


def test_a_project_ends_as_a_whole(queue: BulkTasks) -> None:
    queued(queue, 1, 2, 3)
    queued(queue, 1, key=OTHER)
    task = claimed(queue)
    queue.settle(task.holder, {1: DONE})
    held = claimed(queue)
    assert queue.end_project(KEY, "cancelled") == 2
    queue.settle(held.holder, {2: DONE})
    assert counts(queue) == {"done": 1, "cancelled": 2}
    assert queue.end_project(KEY, "dropped") == 0, "what is over stays as it is"
    assert queue.count() == {"done": 1, "cancelled": 2, "waiting": 1}


def test_workers_never_share_a_task(queue: BulkTasks) -> None:
    queued(queue, *range(40))
    with ThreadPoolExecutor(4) as pool:
        found = [task.task_id for task in pool.map(lambda _: queue.claim(HERE, later()), range(60)) if task]
    assert sorted(found) == list(range(40))


def test_rate_and_time_left(queue: BulkTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    queued(queue, *range(30))
    moment = later(0)
    for number in range(11):
        monkeypatch.setattr(bulk_tasks, "_now", lambda number=number: moment + timedelta(seconds=2 * number + 1))
        task = claimed(queue)
        queue.settle(task.holder, {task.task_id: DONE})
    (progress,) = queue.progress()
    assert progress.per_second == pytest.approx(0.5)
    assert progress.eta_s == pytest.approx(19 / 0.5)
    assert progress.as_json()["eta_s"] == 38
    monkeypatch.setattr(bulk_tasks, "_now", lambda: moment + timedelta(hours=1))
    (progress,) = queue.progress()
    assert (progress.per_second, progress.eta_s) == (0.0, None), "nothing was done lately"


def test_nothing_left_takes_no_time() -> None:
    over = Progress(KEY, {**dict.fromkeys(STATES, 0), "done": 4}, 2.0)
    assert (over.left, over.eta_s) == (0, None)


def test_a_database_that_cannot_be_read_is_said(queue: BulkTasks) -> None:
    with queue._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE bulk_tasks")
    with pytest.raises(StoreError, match=r"cannot read or write the queue of bulk pre-labelling: no such table"):
        queue.claim(HERE, later())
