"""Which tasks come next, over a real store."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest
from learning_parts import KEY, Parts

from xsam_backend.learning.next_tasks import next_tasks
from xsam_backend.store.annotations import KeptAnnotation
from xsam_backend.store.pre_labels import PreLabel, PreLabels
from xsam_backend.store.tasks import TaskPicture

AT = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
BASE, VERSION = "tiny-1", "tiny-1+0000000a"


@pytest.fixture
def pre_labels(parts: Parts) -> PreLabels:
    return PreLabels(parts.store)


def predicted(
    pre_labels: PreLabels, number: int, score: float, angle: float = 0.0, version: str = VERSION, base: str = BASE
) -> None:
    vector = np.array([np.cos(angle), np.sin(angle)], np.float32)
    pre_labels.keep(PreLabel(KEY, number, version, base, score, vector, AT))


def annotated(parts: Parts, number: int, state: str = "accepted") -> None:
    parts.tasks.know(KEY, number, [TaskPicture("image", None, "https://example.com/a.png")])
    parts.annotations.keep([KeptAnnotation(KEY, number, number, state, AT)])  # type: ignore[arg-type]


def asked(parts: Parts, pre_labels: PreLabels, count: int = 10) -> list[int]:
    return next_tasks(
        KEY,
        count,
        version=VERSION,
        base=BASE,
        pre_labels=pre_labels,
        annotations=parts.annotations,
        tasks=parts.tasks,
    )


def test_the_least_certain_of_alike_pictures_comes_first(parts: Parts, pre_labels: PreLabels) -> None:
    for number, score in ((1, 0.9), (2, 0.3), (3, 0.6), (4, 0.0)):
        predicted(pre_labels, number, score)
    assert asked(parts, pre_labels) == [4, 2, 3, 1], "4: nothing was found there"
    assert asked(parts, pre_labels, 2) == [4, 2]


def test_pictures_of_all_kinds_come_before_more_of_one(parts: Parts, pre_labels: PreLabels) -> None:
    for number in range(10):
        predicted(pre_labels, number, 0.2, angle=0.001 * number)
    predicted(pre_labels, 50, 0.6, angle=1.5)
    assert asked(parts, pre_labels, 2) == [0, 50]


def test_what_is_labelled_is_not_asked_for_and_nor_is_its_like(parts: Parts, pre_labels: PreLabels) -> None:
    predicted(pre_labels, 1, 0.1)
    annotated(parts, 1)
    predicted(pre_labels, 2, 0.1, angle=0.01)
    predicted(pre_labels, 3, 0.5, angle=1.0)
    assert asked(parts, pre_labels) == [3, 2]


@pytest.mark.parametrize(("state", "comes"), [("accepted", False), ("skipped", False), ("deleted", True)])
def test_a_task_comes_again_once_its_annotation_is_deleted(
    parts: Parts, pre_labels: PreLabels, state: str, comes: bool
) -> None:
    predicted(pre_labels, 1, 0.5)
    annotated(parts, 1, state)
    assert asked(parts, pre_labels) == ([1] if comes else [])


def test_what_was_never_pre_labelled_comes_last_by_number(parts: Parts, pre_labels: PreLabels) -> None:
    for number in (9, 4):
        annotated(parts, number, "deleted")
    predicted(pre_labels, 7, 0.99)
    predicted(pre_labels, 5, 0.1, version="old-1", base="old-1")
    assert asked(parts, pre_labels) == [7, 4, 5, 9], "5: by a base whose vectors don't compare"


def test_another_versions_score_says_nothing_of_the_deployed_one(parts: Parts, pre_labels: PreLabels) -> None:
    """It counts as the deployed version's do on average, here 0.5."""
    predicted(pre_labels, 1, 0.9)
    predicted(pre_labels, 2, 0.1)
    predicted(pre_labels, 3, 0.0, version=BASE)
    assert asked(parts, pre_labels) == [2, 3, 1]


def test_after_a_promotion_unlike_pictures_come_first(parts: Parts, pre_labels: PreLabels) -> None:
    for number, angle in ((1, 0.0), (2, 0.1), (3, 1.5)):
        predicted(pre_labels, number, 0.9 - number / 10, angle, version=BASE)
    assert asked(parts, pre_labels) == [1, 3, 2]


def test_deleted_tasks_and_other_projects_are_left_out(parts: Parts, pre_labels: PreLabels) -> None:
    predicted(pre_labels, 1, 0.5)
    predicted(pre_labels, 2, 0.5)
    parts.tasks.delete(KEY, [2, 3])
    pre_labels.keep(PreLabel("local/9.9", 8, VERSION, BASE, 0.1, np.ones(2, np.float32), AT))
    assert asked(parts, pre_labels) == [1]
    assert (
        next_tasks(
            "local/7.7",
            3,
            version=BASE,
            base=BASE,
            pre_labels=pre_labels,
            annotations=parts.annotations,
            tasks=parts.tasks,
        )
        == []
    )
