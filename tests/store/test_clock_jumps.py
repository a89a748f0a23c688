"""The machine's clock jumps: by an hour, back or forth. What was kept is neither lost, nor done twice, nor stuck."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Engine

from xsam_backend.inference.disk_tier import DiskTier
from xsam_backend.store import bulk_tasks, inbox, inbox_reading, jobs, tasks
from xsam_backend.store.bulk_tasks import BulkTasks, Outcome
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.inbox_reading import InboxReader
from xsam_backend.store.jobs import Jobs, Worker

Open = Callable[..., Engine]
HOUR = timedelta(hours=1)
KEY = "here/1.1"


class Clock:
    """Stands in for ``datetime`` in the store's modules; ``shift`` is how far it is off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shift = timedelta()
        clock = self

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
                return datetime.now(timezone.utc) + clock.shift

        for module in (inbox, inbox_reading, jobs, bulk_tasks, tasks):
            monkeypatch.setattr(module, "datetime", Shifted)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def now() -> datetime:
    return datetime.now(timezone.utc)


@pytest.mark.parametrize("jump", [-HOUR, HOUR], ids=["back", "forth"])
def test_events_are_read_in_order_and_once(opened: Open, clock: Clock, jump: timedelta) -> None:
    events, store = Inbox(opened("inbox")), opened("store")
    reader = InboxReader(events, store, "r")
    read: list[int] = []

    def read_on(reader: InboxReader) -> None:
        for event in reader.unread():
            read.append(event.body["n"])
            reader.done(event)
        reader.settle()

    for number in range(6):
        if number == 3:
            clock.shift = jump
        events.put({"action": "X", "n": number}, None, verified=True)
        read_on(reader)
    assert read == [0, 1, 2, 3, 4, 5]
    read.clear()
    read_on(InboxReader(events, store, "r"))  # a restart
    assert read == sorted(set(read)), "what is read again comes in order, and reading it again changes nothing"
    events.put({"action": "X", "n": 6}, None, verified=True)
    read_on(InboxReader(events, store, "r"))
    assert 6 in read


@pytest.mark.parametrize("jump", [-HOUR, HOUR], ids=["back", "forth"])
def test_a_job_goes_on_with_its_worker_and_after_it(opened: Open, clock: Clock, jump: timedelta) -> None:
    queue = Jobs(opened("store"))
    here = Worker("place", "host", 1, now())
    queue.queue(KEY, "button")
    job = queue.claim(here)
    assert job is not None
    clock.shift = jump
    assert not queue.beat(job, stage="training", step=1, steps=2)
    queue.queue("here/2.1", "button")
    assert queue.is_claimable(["place"]), "the next one"
    again = queue.claim(Worker("place", "host", 2, now()))  # the same place: its worker has ended
    assert again is not None
    assert (again.id, again.tries) == (job.id, 2), "a lost job goes first, whatever the clock says"
    assert queue.end(again, "done", result={}).state == "done"


def test_bulk_tasks_are_done_once_after_a_jump_back(opened: Open, clock: Clock) -> None:
    queue = BulkTasks(opened("store"))
    held = queue.reserve(KEY, range(3), "v1", now() + timedelta(minutes=1))
    queue.settle(held.holder, {number: Outcome("waiting", now()) for number in range(3)})
    clock.shift = -HOUR
    assert queue.claim("here", now()) is None, "what is due in an hour by the new clock waits for that hour at most"
    assert queue.recover() >= 0
    clock.shift = timedelta()
    found = [task for _ in range(5) if (task := queue.claim("here", now() + HOUR)) is not None]
    assert sorted(task.task_id for task in found) == [0, 1, 2]


def test_files_of_the_future_are_read_and_go_first_or_last_but_go(tmp_path: Path) -> None:
    tier: DiskTier[bytes] = DiskTier(tmp_path, 500, lambda value: value, lambda packed: packed)
    tier.get_or_make("a", lambda: b"a" * 100)
    for path in tmp_path.glob("*.kept"):
        os.utime(path, (time.time() + 3600, time.time() + 3600))
    assert tier.get_or_make("a", lambda: pytest.fail("made anew")) == b"a" * 100
    for name in "bcdefg":
        tier.get_or_make(name, lambda: b"x" * 100)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 500
