"""Events that come five times, in any order and at once leave what each of them once, in order, leaves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from backend_process import BackendProcess
from event_parts import CONFIG, ROOT_SECRET, Sender, polygon, until
from sqlalchemy import Engine

from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.jobs import Jobs
from xsam_backend.store.projects import Projects
from xsam_backend.store.tasks import Tasks

pytestmark = pytest.mark.e2e

TIMES = 5
RENAMED = CONFIG.replace("cat", "lion")


def story(sender: Sender) -> list[dict[str, Any]]:
    """What happens in a project, in order."""
    renamed = {"title": "lions", "label_config": RENAMED}
    last = sender.annotated(15, 119, 20, result=[polygon("r1", "lion")])
    return [
        {"action": "PROJECT_UPDATED", "project": sender.project(1)},
        sender.annotated(10, 114, 2),
        sender.annotated(10, 114, 3, action="ANNOTATION_UPDATED", result=[polygon("r1"), polygon("r2")]),
        sender.annotated(11, 115, 4),
        sender.annotated(11, 115, 5, action="ANNOTATION_UPDATED", result=[]),
        sender.annotated(12, 116, 6),
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 12}], "project": sender.project()},
        sender.annotated(13, 117, 7, was_cancelled=True, result=[]),
        sender.annotated(14, 118, 8),
        {"action": "TASKS_DELETED", "tasks": [{"id": 118}], "project": sender.project()},
        {"action": "PROJECT_UPDATED", "project": sender.project(9, **renamed)},
        {**last, "project": sender.project(9, **renamed)},
        {"action": "START_TRAINING", "project": sender.project(9, **renamed)},
    ]


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[dict[str, Engine]]:
    opened = {name: open_database(database_url(name, tmp_path / "data"), name) for name in ("inbox", "store")}
    yield opened
    for engine in opened.values():
        engine.dispose()


def kept(store: Engine, sender: Sender) -> dict[str, Any]:
    """Everything that the store holds of a project, without the moments at which it came."""
    key = str(sender.key)
    project = Projects(store).of(key)
    assert project is not None
    return {
        "project": (project.title, project.label_config),
        "tasks": sorted((task.task_id, task.pictures[0].address) for task in Tasks(store).of_project(key)),
        "annotations": [
            (one.annotation_id, one.task_id, one.state, list(one.result)) for one in Annotations(store).of_tasks(key)
        ],
        "jobs": [(job.reason, job.state) for job in Jobs(store).latest() if job.project_key == key],
    }


def test_disorder_leaves_what_order_leaves(tmp_path: Path, databases: dict[str, Engine]) -> None:
    in_order, disordered = Sender(21), Sender(22)
    shuffled = story(disordered) * TIMES
    random.Random(5).shuffle(shuffled)
    with BackendProcess(tmp_path / "data", settings={"webhook_secret": ROOT_SECRET}) as backend:
        for event in story(in_order):
            assert in_order.send(backend.url, event).status_code == 201
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda event: disordered.send(backend.url, event), shuffled))
        assert {answer.status_code for answer in answers} == {201}
        events = Inbox(databases["inbox"]).after(limit=1000)
        until(lambda: len(kept(databases["store"], in_order)["annotations"]) == 5, 30, "collecting")
        with suppress(AssertionError):  # what differs is shown below
            until(lambda: kept(databases["store"], disordered) == kept(databases["store"], in_order), 10, "the same")
    expected = kept(databases["store"], in_order)
    assert [(number, state) for number, _, state, _ in expected["annotations"]] == [
        (10, "accepted"),
        (11, "accepted"),
        (12, "deleted"),
        (13, "skipped"),
        (15, "accepted"),
    ]
    assert expected["project"] == ("lions", RENAMED)
    assert expected["jobs"] == [("button", "queued")]
    assert kept(databases["store"], disordered) == expected
    of_disordered = [event.action for event in events if event.project_key == str(disordered.key)]
    presses = of_disordered.count("START_TRAINING")
    assert (len(of_disordered) - presses, presses) == (len(story(disordered)) - 1, TIMES), "each once, but presses"


@pytest.mark.parametrize("first", [True, False])
def test_a_config_that_comes_late_does_not_take_the_newer_ones_place(
    tmp_path: Path, databases: dict[str, Engine], first: bool
) -> None:
    """Every event carries its project as it was then."""
    sender = Sender()
    older = {"action": "PROJECT_UPDATED", "project": sender.project(1)}
    newer = {"action": "PROJECT_UPDATED", "project": sender.project(2, title="lions", label_config=RENAMED)}
    with BackendProcess(tmp_path / "data", settings={"webhook_secret": ROOT_SECRET}) as backend:
        for event in (older, newer) if first else (newer, older):
            assert sender.send(backend.url, event).status_code == 201
        projects = Projects(databases["store"])
        until(projects.all, 10, "the project")
    (listed,) = projects.all()  # the service has ended: nothing comes any more
    project = projects.of(listed.key)
    assert project is not None
    assert (project.title, project.label_config) == ("lions", RENAMED)
