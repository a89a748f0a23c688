"""The thread that syncs: which projects, and how often what fails is tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from xsam_backend.errors import LabelStudioError, ProjectGoneError, StoreError
from xsam_backend.learning.collecting import Synced
from xsam_backend.server import collecting_thread
from xsam_backend.server.collecting_thread import LONGEST_PAUSE_S, SYNC_AGAIN_AFTER_S, CollectingThread
from xsam_backend.server.monitor import Monitor
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.projects import ProjectKey, Projects

HERE, ELSEWHERE = ProjectKey("labels.example", 21, 5), ProjectKey("other.example", 21, 7)


class Collector:
    """Counts its syncs."""

    def __init__(self) -> None:
        self.synced: list[ProjectKey] = []
        self.asked: list[ProjectKey] = []
        self.error: Exception | None = None
        self.errors: dict[ProjectKey, Exception] = {}
        self.meanwhile: Any = lambda: None

    def sync(self, _api: object, project_id: int, expected: ProjectKey) -> Synced:
        assert project_id == expected.project_id
        self.synced.append(expected)
        self.meanwhile()
        if error := self.error or self.errors.get(expected):
            raise error
        return Synced(expected, 1, 0, 0, ("task 3: it has no number",))

    def ask_after(self, _api: object, key: ProjectKey) -> None:
        self.asked.append(key)
        if error := self.error or self.errors.get(key):
            raise error


class Clock:
    """What ``time`` is to the thread."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def projects(tmp_path: Path) -> Iterator[Projects]:
    engine = open_database(database_url("store", tmp_path), "store")
    yield Projects(engine)
    engine.dispose()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(collecting_thread, "time", clock)
    return clock


def thread(
    collector: Collector,
    projects: Projects,
    monitor: Monitor,
    on_gone: Callable[[str], object] = lambda _: None,
    sync_every: timedelta | None = None,
) -> CollectingThread:
    anything: Any = object()
    taking: Any = collector
    return CollectingThread(
        taking, anything, anything, projects, anything, monitor, "labels.example", on_gone, sync_every
    )


def test_projects_of_another_label_studio_are_left_alone(projects: Projects, clock: Clock) -> None:
    collector, monitor = Collector(), Monitor()
    for key in (HERE, ELSEWHERE):
        projects.remember(key)
    projects.want_sync()
    thread(collector, projects, monitor)._sync()
    assert collector.synced == [HERE]
    assert [key for key, _ in projects.sync_wanted()] == [str(ELSEWHERE)]
    assert "task 3" in str(monitor.last_problems)


def test_what_is_wanted_while_a_sync_runs_is_still_wanted_after_it(projects: Projects, clock: Clock) -> None:
    collector = Collector()
    collector.meanwhile = lambda: projects.want_sync(str(HERE))
    projects.remember(HERE)
    projects.want_sync()
    thread(collector, projects, Monitor())._sync()
    assert [key for key, _ in projects.sync_wanted()] == [str(HERE)]


def test_a_project_that_is_gone_is_told_and_asked_for_no_more(projects: Projects, clock: Clock) -> None:
    """Label Studio sends nothing when it is deleted, so it is asked now and then."""
    collector, monitor, gone = Collector(), Monitor(), list[str]()
    for key in (HERE, ELSEWHERE):
        projects.remember(key)
    looking = thread(collector, projects, monitor, gone.append)
    looking._ask_after()
    assert collector.asked == [], "at the start it was synced"
    for _ in range(2):
        clock.now += collecting_thread.ASK_AFTER_EVERY_S + 1
        looking._ask_after()
        looking._ask_after()
    assert collector.asked == [HERE, HERE]
    assert gone == []
    collector.error = ProjectGoneError("deleted")
    projects.gone(str(ELSEWHERE))
    clock.now += collecting_thread.ASK_AFTER_EVERY_S + 1
    looking._ask_after()
    assert gone == [str(HERE)]
    assert [problem.message for problem in monitor.last_problems] == ["deleted"]
    projects.want_sync()
    looking._sync()
    assert gone == [str(HERE)] * 2


def test_what_cannot_be_synced_is_tried_less_and_less_often(projects: Projects, clock: Clock) -> None:
    collector = Collector()
    collector.error = LabelStudioError("it can't be reached")
    projects.remember(HERE)
    projects.want_sync()
    looking = thread(collector, projects, Monitor())
    for wait_s in (SYNC_AGAIN_AFTER_S, 2 * SYNC_AGAIN_AFTER_S, 4 * SYNC_AGAIN_AFTER_S):
        asked = len(collector.synced)
        looking._sync()
        assert len(collector.synced) == asked + 1
        clock.now += wait_s - 1
        looking._sync()
        assert len(collector.synced) == asked + 1
        clock.now += 2
    for _ in range(20):
        looking._sync()
        clock.now += LONGEST_PAUSE_S + 1
    assert len(collector.synced) == 3 + 20
    collector.error = None
    looking._sync()
    assert projects.sync_wanted() == []


class FullDisk:
    """A store that can't note anything for now."""

    def __init__(self, projects: Projects) -> None:
        self.projects = projects
        self.is_full = True

    def want_sync(self, key: str | None = None) -> None:
        if self.is_full:
            raise StoreError("the disk is full")
        self.projects.want_sync(key)


def test_what_was_missed_is_synced_once_the_store_can_be_written(projects: Projects, clock: Clock) -> None:
    """The disk that had no room for the event has none for the wish either."""
    projects.remember(HERE)
    disk: Any = FullDisk(projects)
    looking = thread(Collector(), disk, Monitor())
    looking.missed(HERE)
    for _ in range(2):
        with pytest.raises(StoreError):
            looking._note_missed()
    disk.is_full = False
    looking._note_missed()
    assert [key for key, _ in projects.sync_wanted()] == [str(HERE)]
    projects.synced(*projects.sync_wanted()[0])
    looking._note_missed()
    assert projects.sync_wanted() == [], "once is enough"


def test_what_is_missed_fills_no_memory(projects: Projects, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can send events, of projects made up. Above the limit, all that are known are synced."""
    monkeypatch.setattr(collecting_thread, "MISSED_LIMIT", 3)
    projects.remember(HERE)
    looking = thread(Collector(), projects, Monitor())
    for number in range(100):
        looking.missed(ProjectKey("labels.example", number + 100, 5))
    assert len(looking._missed) <= 4
    looking._note_missed()
    assert [key for key, _ in projects.sync_wanted()] == [str(HERE)]


@pytest.mark.parametrize(
    "error", [StoreError("the disk is full"), LabelStudioError("502"), KeyError("something unexpected")]
)
def test_one_project_that_fails_stops_no_other(projects: Projects, clock: Clock, error: Exception) -> None:
    collector, monitor = Collector(), Monitor()
    first, second = ProjectKey("labels.example", 1, 5), ProjectKey("labels.example", 2, 5)
    collector.errors[first] = error
    for key in (first, second):
        projects.remember(key)
    projects.want_sync()
    looking = thread(collector, projects, monitor)
    for _ in range(3):
        looking._sync()
        clock.now += collecting_thread.LOOK_EVERY_S
    assert collector.synced == [first, second], "the first is not fetched again every few seconds"
    assert [problem.where for problem in monitor.last_problems if problem.kind != "TaskNotUnderstood"] == [
        f"project {first}"
    ]


def test_asking_after_one_project_that_fails_stops_no_other(projects: Projects, clock: Clock) -> None:
    collector = Collector()
    keys = [ProjectKey("labels.example", number, 5) for number in range(5)]
    for key in reversed(keys):  # the latest comes first
        projects.remember(key)
    collector.errors[keys[0]] = LabelStudioError("HTTP 500")
    clock.now += collecting_thread.ASK_AFTER_EVERY_S + 1
    looking = thread(collector, projects, Monitor())
    clock.now += collecting_thread.ASK_AFTER_EVERY_S + 1
    looking._ask_after()
    assert collector.asked == keys


def test_a_label_studio_that_is_gone_is_left_alone_and_those_behind_come_first(
    projects: Projects, clock: Clock
) -> None:
    """Each question may wait for its time limit, and events are waiting."""
    collector = Collector()
    keys = [ProjectKey("labels.example", number, 5) for number in range(5)]
    for key in reversed(keys):
        projects.remember(key)
    collector.error = LabelStudioError("no answer")
    looking = thread(collector, projects, Monitor())
    for _ in range(2):
        clock.now += collecting_thread.ASK_AFTER_EVERY_S + 1
        looking._ask_after()
    assert collector.asked == keys


def test_a_project_of_which_nothing_was_heard_is_synced_now_and_then(projects: Projects, clock: Clock) -> None:
    """An event that a network lost leaves no trace."""
    gone = ProjectKey("labels.example", 3, 5)
    for key in (HERE, ELSEWHERE, gone):
        projects.remember(key)
    projects.gone(str(gone))
    for every, wanted in ((timedelta(0), [str(HERE)]), (timedelta(hours=6), []), (None, [])):
        looking = thread(Collector(), projects, Monitor(), sync_every=every)
        clock.now += collecting_thread.ASK_AFTER_EVERY_S + 1
        looking._ask_after()
        assert [key for key, _ in projects.sync_wanted()] == wanted
        for key, at in projects.sync_wanted():
            projects.synced(key, at)


def test_hints_cost_a_sync_a_minute_after_the_first(projects: Projects, clock: Clock) -> None:
    """Anybody can send them; but the first sync comes by itself, and what happens right after it is not to wait."""
    collector = Collector()
    projects.remember(HERE)
    looking = thread(collector, projects, Monitor())
    for _ in range(24):
        projects.want_sync(str(HERE))
        looking._sync()
        clock.now += collecting_thread.LOOK_EVERY_S
    assert len(collector.synced) == 3, "two minutes"
