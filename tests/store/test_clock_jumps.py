"""The machine's clock jumps: by an hour, back or forth, or a year ahead and back to the right time. What was kept is
neither lost, nor done twice, nor stuck."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine

from xsam_backend.inference.disk_tier import DiskTier
from xsam_backend.learning.wishes import Schedule, Wishes
from xsam_backend.server import bulk_outcomes
from xsam_backend.server.bulk_outcomes import in_seconds
from xsam_backend.store import annotations, bulk_tasks, inbox, inbox_reading, jobs, projects, tasks
from xsam_backend.store.annotations import Annotations, KeptAnnotation
from xsam_backend.store.bulk_tasks import BulkTasks, Outcome
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.inbox_reading import InboxReader
from xsam_backend.store.jobs import JobLost, Jobs, Worker
from xsam_backend.store.projects import ProjectKey, Projects
from xsam_backend.store.tasks import TaskPicture, Tasks

Open = Callable[..., Engine]
HOUR = timedelta(hours=1)
YEAR = timedelta(days=365)
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

        for module in (inbox, inbox_reading, jobs, bulk_tasks, tasks, projects, annotations, bulk_outcomes):
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


def claimed(queue: BulkTasks) -> list[int]:
    """All that is due by the clock as it is, each held for ten minutes."""
    found = []
    while (task := queue.claim("here", in_seconds(600))) is not None:
        found.append(task.task_id)
        assert len(found) < 50, "the same again and again"
    return sorted(found)


def test_bulk_tasks_wait_for_a_jump_back_at_most(opened: Open, clock: Clock) -> None:
    queue = BulkTasks(opened("store"))
    held = queue.reserve(KEY, range(3), "v1", in_seconds(60))
    queue.settle(held.holder, {number: Outcome("waiting", in_seconds(0)) for number in range(3)})
    clock.shift = -HOUR
    assert claimed(queue) == []
    clock.shift = timedelta(seconds=1)
    assert claimed(queue) == [0, 1, 2], "an hour later by the new clock"
    assert claimed(queue) == []
    assert queue.recover() == 3, "of a process that was killed"
    assert claimed(queue) == [0, 1, 2]


def test_bulk_tasks_go_on_after_a_year_ahead_and_back(opened: Open, clock: Clock) -> None:
    queue = BulkTasks(opened("store"))
    clock.shift = YEAR
    held = queue.reserve(KEY, range(4), "v1", in_seconds(60))
    queue.settle(
        held.holder, {0: Outcome("waiting", in_seconds(300)), 1: Outcome("done"), 3: Outcome("waiting", now())}
    )
    assert claimed(queue) == [2, 3], "and the process that has them is killed"
    lost = queue.reserve(KEY, [5], "v1", in_seconds(60))
    clock.shift = timedelta()
    assert queue.upcoming(KEY, 9) == [], "all were begun"
    assert claimed(queue) == [0, 2, 3, 5], "nothing waits for a year"
    assert claimed(queue) == [], "nor is it done twice"
    queue.settle(lost.holder, {5: Outcome("done")})
    assert queue.count() == {"done": 1, "working": 4}, "who had one before has it no more"
    clock.shift = timedelta(minutes=11)
    assert claimed(queue) == [0, 2, 3, 5], "held for ten minutes by the right clock"
    again = queue.reserve(KEY, [1], "v1", in_seconds(60))
    assert again.mine == {1}, "what was done a year ahead isn't what was done a moment ago"
    assert queue.progress()[0].per_second == 0.0


def test_a_job_of_a_worker_that_was_killed_a_year_ahead_goes_on(opened: Open, clock: Clock) -> None:
    engine = opened("store")
    queue = Jobs(engine)
    clock.shift = YEAR
    queue.queue(KEY, "button")
    job = queue.claim(Worker("place", "host", 1, now()))
    assert job is not None
    clock.shift = timedelta()
    assert queue.get(job.id).is_abandoned
    assert queue.is_claimable([])
    elsewhere = queue.claim(Worker("another place", "host", 2, now()))
    assert elsewhere is not None
    assert (elsewhere.id, elsewhere.tries) == (job.id, 2)
    assert queue.claim(Worker("a third", "host", 3, now())) is None, "it runs once"
    with pytest.raises(JobLost):
        queue.beat(job)
    assert not queue.get(job.id).is_abandoned
    assert queue.end(elsewhere, "done", result={}).state == "done"


def test_annotations_are_counted_after_a_year_ahead(opened: Open, clock: Clock) -> None:
    """The next job by count is queued, and is not queued again and again by what was accepted in that year."""
    engine = opened("store")
    queue, kept = Jobs(engine), Annotations(engine)

    def accept(*numbers: int) -> None:
        kept.keep([KeptAnnotation(KEY, number, number, "accepted", now()) for number in numbers])

    def trained() -> None:
        queue.queue(KEY, "count")
        job = queue.claim(Worker("place", "host", 1, now()))
        assert job is not None
        queue.end(job, "done", result={})

    clock.shift = YEAR
    accept(1, 2)
    trained()
    accept(3)
    clock.shift = timedelta()
    accept(4)
    assert queue.news() == {KEY: 1}
    trained()
    assert queue.news() == {}
    accept(5, 6)
    assert queue.news() == {KEY: 2}


def test_events_of_a_year_ahead_are_read_once_also_by_a_restarted_reader(
    opened: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, store = Inbox(opened("inbox")), opened("store")

    def read(reader: InboxReader) -> list[int]:
        found = []
        for event in reader.unread():
            found.append(event.body["n"])
            reader.done(event)
        reader.settle()
        return found

    reader = InboxReader(events, store, "r")
    clock.shift = YEAR
    events.put({"action": "X", "n": 0}, None, verified=True)
    assert read(reader) == [0]
    clock.shift = timedelta()
    events.put({"action": "X", "n": 1}, None, verified=True)
    assert read(reader) == [1]
    assert read(InboxReader(events, store, "r")) == [0, 1], "not settled yet"
    minute_later = time.monotonic() + 61
    monkeypatch.setattr(inbox_reading.time, "monotonic", lambda: minute_later)
    clock.shift = timedelta(seconds=61)
    assert read(reader) == []
    assert read(InboxReader(events, store, "r")) == [], "its place is kept behind both"
    events.put({"action": "X", "n": 2}, None, verified=True)
    assert read(InboxReader(events, store, "r")) == [2]


def test_projects_are_synced_again_after_a_year_ahead(opened: Open, clock: Clock) -> None:
    known = Projects(opened("store"))
    clock.shift = YEAR
    known.remember(ProjectKey.parse(KEY), title="a")
    known.want_sync(KEY)
    ((_, wanted_at),) = known.sync_wanted()
    clock.shift = timedelta()
    known.want_sync(KEY)  # while it is synced: something more was missed
    known.synced(KEY, wanted_at)
    ((_, wanted_at),) = known.sync_wanted()
    known.synced(KEY, wanted_at)
    assert known.sync_wanted() == []
    known.want_sync_of_old("here", timedelta(hours=6))
    assert known.sync_wanted() == [], "that was a moment ago"
    clock.shift = YEAR
    known.want_sync(KEY)
    ((_, wanted_at),) = known.sync_wanted()
    known.synced(KEY, wanted_at)
    clock.shift = timedelta()
    known.want_sync_of_old("here", timedelta(hours=6))
    assert [key for key, _ in known.sync_wanted()] == [KEY], "its last sync was by a clock that was wrong"


def test_pictures_are_copied_after_a_year_ahead(opened: Open, clock: Clock) -> None:
    known = Tasks(opened("store"))
    clock.shift = YEAR
    known.know(KEY, 1, [TaskPicture(None, None, "a.png")])
    (task,) = known.lacking()
    known.copied(task, task.pictures)  # it could not be had
    assert known.lacking() == []
    clock.shift = timedelta()
    assert [one.task_id for one in known.lacking()] == [1]


def test_a_schedule_goes_on_after_a_year_ahead() -> None:
    queued: list[str] = []
    jobs = SimpleNamespace(
        news=lambda: {KEY: 1}, queue=lambda project, _reason: (queued.append(project) or project, True)
    )
    wishes = Wishes(jobs, schedule=Schedule("0 3 * * *"))  # type: ignore[arg-type]
    wishes.queue_due(now() + YEAR)
    assert len(queued) == 1
    wishes.queue_due(now())
    assert len(queued) == 1
    wishes.queue_due(now() + timedelta(hours=25))
    assert len(queued) == 2
    wishes.queue_due(now() + timedelta(hours=25, seconds=1))
    assert len(queued) == 2


def test_files_of_the_future_are_read_and_go_first_or_last_but_go(tmp_path: Path) -> None:
    tier: DiskTier[bytes] = DiskTier(tmp_path, 500, lambda value: value, lambda packed: packed)
    tier.get_or_make("a", lambda: b"a" * 100)
    for path in tmp_path.glob("*.kept"):
        os.utime(path, (time.time() + 3600, time.time() + 3600))
    assert tier.get_or_make("a", lambda: pytest.fail("made anew")) == b"a" * 100
    for name in "bcdefg":
        tier.get_or_make(name, lambda: b"x" * 100)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 500
