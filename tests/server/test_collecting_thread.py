"""The thread that syncs: which projects, and how often what fails is tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xsam_backend.errors import LabelStudioError, ProjectGoneError
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
        self.meanwhile: Any = lambda: None

    def sync(self, _api: object, project_id: int, expected: ProjectKey) -> Synced:
        assert project_id == expected.project_id
        self.synced.append(expected)
        self.meanwhile()
        if self.error:
            raise self.error
        return Synced(expected, 1, 0, 0, ("task 3: it has no number",))

    def ask_after(self, _api: object, key: ProjectKey) -> None:
        self.asked.append(key)
        if self.error:
            raise self.error


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
    collector: Collector, projects: Projects, monitor: Monitor, on_gone: Callable[[str], object] = lambda _: None
) -> CollectingThread:
    anything: Any = object()
    taking: Any = collector
    return CollectingThread(taking, anything, anything, projects, anything, monitor, "labels.example", on_gone)


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
