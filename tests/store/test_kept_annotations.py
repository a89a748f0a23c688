"""The newest state of every annotation, whatever the order of the news."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from xsam_backend.errors import StoreError
from xsam_backend.store.annotations import Annotations, KeptAnnotation, ShownRegion
from xsam_backend.store.tasks import Tasks

START = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
PROJECT = "local/21.5"
SHOWN = ShownRegion("rg1", "tiny-1", "poly", "polygonlabels", "cat", 0.87, False, {"points": [[1, 2]]})
CREATED = KeptAnnotation(PROJECT, 10, 114, "accepted", START, 1, True, ({"id": "rg1"},), (SHOWN,))
UPDATED = replace(CREATED, changed_at=START + timedelta(seconds=1), result=({"id": "rg1"}, {"id": "rg2"}))
SKIPPED = replace(CREATED, changed_at=START + timedelta(seconds=2), state="skipped", result=())


@pytest.fixture
def annotations(opened: Callable[..., Engine]) -> Annotations:
    return Annotations(opened("store"))


def kept(annotations: Annotations) -> list[KeptAnnotation]:
    return list(annotations.of_tasks(PROJECT))


def test_an_annotation_comes_back_as_it_was(annotations: Annotations) -> None:
    assert annotations.keep([CREATED]) == 1
    assert kept(annotations) == [CREATED]


@pytest.mark.parametrize("order", list(permutations([CREATED, UPDATED, SKIPPED])))
def test_the_last_change_counts_whatever_comes_first(
    annotations: Annotations, order: tuple[KeptAnnotation, ...]
) -> None:
    for annotation in order:
        annotations.keep([annotation])
    assert kept(annotations) == [SKIPPED]


def test_the_same_again_is_no_news(annotations: Annotations) -> None:
    assert [annotations.keep([CREATED]), annotations.keep([CREATED, CREATED])] == [1, 0]


def test_what_was_shown_before_an_update_still_was_shown(annotations: Annotations) -> None:
    annotations.keep([CREATED])
    annotations.keep([replace(UPDATED, result=(), shown=(replace(SHOWN, region_id="rg9"),))])
    (now,) = kept(annotations)
    assert [region.region_id for region in now.shown] == ["rg1", "rg9"]


def test_deletion_is_final_and_leaves_the_content(annotations: Annotations) -> None:
    annotations.keep([CREATED])
    later = START + timedelta(hours=1)
    assert annotations.delete(PROJECT, [10, 11], later) == 2
    assert annotations.keep([replace(CREATED, changed_at=later + timedelta(hours=1))]) == 0
    deleted = replace(CREATED, state="deleted", changed_at=later)
    assert kept(annotations) == [KeptAnnotation(PROJECT, 11, None, "deleted", later), deleted]
    assert annotations.changed_at(PROJECT) == {}


@given(news=st.lists(st.sampled_from([CREATED, UPDATED, SKIPPED, "delete"]), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_any_order_with_any_doubles_ends_the_same(opened: Callable[..., Engine], news: list[object]) -> None:
    annotations = Annotations(opened("store"))
    project = f"local/{abs(hash(tuple(map(str, news))))}.1"
    for one in news:
        if isinstance(one, KeptAnnotation):
            annotations.keep([replace(one, project_key=project)])
        else:
            annotations.delete(project, [10], START)
    found = [annotation.state for annotation in annotations.of_tasks(project)]
    if not news:
        assert found == []
    elif "delete" in news:
        assert found == ["deleted"]
    else:
        latest = max((one for one in news if isinstance(one, KeptAnnotation)), key=lambda one: one.changed_at)
        assert found == [latest.state]


def test_some_tasks_can_be_asked_for_and_deleted_ones_are_left_out(
    annotations: Annotations, opened: Callable[..., Engine]
) -> None:
    annotations.keep([replace(CREATED, annotation_id=number, task_id=number % 3) for number in range(1, 1300)])
    Tasks(opened("store")).delete(PROJECT, [2])
    assert {one.task_id for one in annotations.of_tasks(PROJECT)} == {0, 1}
    assert {one.task_id for one in annotations.of_tasks(PROJECT, [1, 2])} == {1}
    assert annotations.count() == {PROJECT: {"accepted": 1299}}


def test_labelled_is_what_somebody_accepted_or_skipped(annotations: Annotations) -> None:
    for number, state in enumerate(("accepted", "skipped", "deleted"), 1):
        annotations.keep([replace(CREATED, annotation_id=number, task_id=number, state=state)])
    annotations.delete(PROJECT, [99], CREATED.changed_at)  # of a task that nobody has told
    assert annotations.labelled_tasks(PROJECT) == {1, 2}
    assert annotations.labelled_tasks("local/9.9") == set()


def test_what_was_accepted_last_comes_first(annotations: Annotations) -> None:
    later = [START + timedelta(seconds=seconds) for seconds in range(5)]
    annotations.keep(
        [
            replace(CREATED, annotation_id=1, task_id=7, changed_at=later[1]),
            replace(CREATED, annotation_id=2, task_id=8, changed_at=later[2]),
            replace(CREATED, annotation_id=3, task_id=7, changed_at=later[3]),
            replace(SKIPPED, annotation_id=4, task_id=9, changed_at=later[4]),
            replace(CREATED, annotation_id=5, task_id=6, changed_at=later[0]),
            replace(CREATED, annotation_id=6, task_id=5, project_key="local/22.1"),
        ]
    )
    assert list(annotations.newest_tasks(PROJECT, 10).items()) == [(7, later[3]), (8, later[2]), (6, later[0])]
    assert list(annotations.newest_tasks(PROJECT, 2)) == [7, 8]
    annotations.delete(PROJECT, [3], later[4])
    assert list(annotations.newest_tasks(PROJECT, 2)) == [8, 7]


def test_a_database_that_cannot_be_written_is_said(annotations: Annotations) -> None:
    with pytest.raises(StoreError, match=r"cannot read or write 1 annotations"):
        annotations.keep([replace(CREATED, changed_at=datetime(2026, 1, 1))])
