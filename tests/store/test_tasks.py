"""Tasks and their pictures: known once, copied until nothing lacks, deleted for good."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, text

from xsam_backend.store.tasks import FIRST_RETRY_S, LONGEST_RETRY_S, KeptTask, TaskPicture, Tasks

PROJECT = "local/21.5"
LACKING = TaskPicture("image", None, "https://host/a.png?signature=xyz")
COPIED = replace(LACKING, sha256="a" * 64, size_hw=(240, 320))


@pytest.fixture
def engine(opened: Callable[..., Engine]) -> Engine:
    return opened("store")


@pytest.fixture
def tasks(engine: Engine) -> Tasks:
    return Tasks(engine)


def test_pictures_are_due_until_all_are_copied(tasks: Tasks) -> None:
    second = replace(LACKING, item_index=1)
    tasks.know(PROJECT, 114, [LACKING, second])
    (due,) = tasks.lacking()
    assert due == KeptTask(PROJECT, 114, (LACKING, second))
    tasks.copied(due, [COPIED, second])
    assert tasks.lacking() == [], "not at once"
    assert tasks.count_lacking() == 1
    tasks.try_again(PROJECT)
    (due,) = tasks.lacking()
    tasks.copied(due, [COPIED, replace(COPIED, item_index=1)])
    assert tasks.count_lacking() == 0


def test_another_services_failure_does_not_undo_a_copy(tasks: Tasks) -> None:
    """Both had the task in hand: the address may have run out for the second of them."""
    tasks.know(PROJECT, 114, [LACKING])
    (due,) = tasks.lacking()
    tasks.copied(due, [COPIED])
    tasks.copied(due, [replace(LACKING, problem="403")])
    assert tasks.of_project(PROJECT)[0].pictures == (replace(COPIED, address=None),)


def test_an_address_is_forgotten_once_its_picture_is_kept(tasks: Tasks, engine: Engine) -> None:
    tasks.know(PROJECT, 114, [COPIED])
    assert tasks.of_project(PROJECT)[0].pictures == (replace(COPIED, address=None),)
    with engine.connect() as connection:
        assert "signature" not in str(connection.execute(text("SELECT pictures FROM tasks")).all())


def test_a_known_task_keeps_its_pictures(tasks: Tasks) -> None:
    tasks.know(PROJECT, 114, [COPIED])
    tasks.know(PROJECT, 114, [LACKING])
    assert tasks.count_lacking() == 0


@pytest.mark.parametrize(
    ("tries", "delay_s"),
    [
        (0, FIRST_RETRY_S),
        (1, 2 * FIRST_RETRY_S),
        (3, 8 * FIRST_RETRY_S),
        (1000, LONGEST_RETRY_S),
    ],
)
def test_failing_pictures_are_tried_less_and_less_often(
    tasks: Tasks, engine: Engine, tries: int, delay_s: float
) -> None:
    tasks.know(PROJECT, 114, [LACKING])
    before = datetime.now(timezone.utc)
    tasks.copied(KeptTask(PROJECT, 114, (LACKING,), tries), [replace(LACKING, problem="HTTP 404")])
    with engine.connect() as connection:
        (said,) = connection.execute(text("SELECT next_try_at FROM tasks")).one()
    waits = datetime.fromisoformat(said).replace(tzinfo=timezone.utc) - before
    assert timedelta(seconds=delay_s) <= waits < timedelta(seconds=delay_s + 60)
    assert tasks.of_project(PROJECT)[0].pictures[0].problem == "HTTP 404"


def test_a_deleted_task_stays_so_also_if_news_of_it_come_later(tasks: Tasks) -> None:
    tasks.know(PROJECT, 1, [LACKING])
    tasks.delete(PROJECT, [1, 2])
    tasks.know(PROJECT, 2, [LACKING])
    assert tasks.of_project(PROJECT) == []
    assert tasks.lacking() == []
    assert tasks.deleted(PROJECT) == {1, 2}
    assert tasks.deleted("local/9.9") == set()


def test_what_lacks_is_looked_for_where_the_task_says_now(tasks: Tasks) -> None:
    second = replace(LACKING, item_index=1)
    tasks.know(PROJECT, 114, [LACKING, second])
    tasks.copied(tasks.lacking()[0], [COPIED, replace(second, problem="HTTP 404")])
    there = replace(second, address="https://elsewhere/b.png")
    tasks.know(PROJECT, 114, [LACKING, there])
    (due,) = tasks.lacking()
    assert due.tries == 0
    assert due.pictures == (replace(COPIED, address=None), there), "what was copied stays"
    tasks.copied(due, [*due.pictures[:1], replace(there, problem="HTTP 404")])
    tasks.know(PROJECT, 114, [LACKING, there])
    assert tasks.lacking() == [], "the same address again is no reason to hurry"


def test_a_copy_that_ends_after_its_task_was_deleted_wakes_nothing(tasks: Tasks) -> None:
    tasks.know(PROJECT, 114, [LACKING])
    (due,) = tasks.lacking()
    tasks.delete(PROJECT, [114])
    tasks.copied(due, [replace(LACKING, problem="HTTP 404")])
    assert tasks.count_lacking() == 0
