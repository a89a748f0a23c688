"""Which annotation of a task counts, and what it says about our own regions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from learning_parts import KEY, polygon

from xsam_backend.learning.choosing import Choice, choose
from xsam_backend.store.annotations import KeptAnnotation, ShownRegion
from xsam_backend.store.tasks import KeptTask, TaskPicture

START = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
COPIED = TaskPicture("image", None, None, "a" * 64, (240, 320))
TASK = KeptTask(KEY, 114, (COPIED,))
ACCEPTED = KeptAnnotation(KEY, 10, 114, "accepted", START, 1, False, (polygon("rg1"),))


def shown(region_id: str, value: dict[str, Any] | None = None, label: str = "cat") -> ShownRegion:
    value = polygon(region_id)["value"] if value is None else value
    return ShownRegion(region_id, "tiny-1", "poly", "polygonlabels", label, 0.9, False, value)


def chosen(*annotations: KeptAnnotation, task: KeptTask = TASK) -> Choice:
    (one,) = choose([task], annotations).choices
    return one


def later(annotation: KeptAnnotation, **changes: Any) -> KeptAnnotation:
    return replace(annotation, annotation_id=annotation.annotation_id + 1, **changes)


@pytest.mark.parametrize(
    ("others", "counts"),
    [
        pytest.param([], 10, id="the only one"),
        pytest.param([later(ACCEPTED, changed_at=START + timedelta(seconds=1))], 11, id="changed last"),
        pytest.param([later(ACCEPTED, changed_at=START - timedelta(seconds=1))], 10, id="an older one"),
        pytest.param(
            [later(ACCEPTED, changed_at=START - timedelta(days=1), ground_truth=True)], 11, id="ground truth first"
        ),
        pytest.param([later(ACCEPTED, changed_at=START + timedelta(1), state="deleted")], 10, id="deleted never"),
        pytest.param([later(ACCEPTED, changed_at=START + timedelta(1), state="skipped")], 10, id="skipped after all"),
    ],
)
def test_one_annotation_of_a_task_counts(others: list[KeptAnnotation], counts: int) -> None:
    assert chosen(ACCEPTED, *others).annotation_id == counts
    assert chosen(*others, ACCEPTED).annotation_id == counts


MOVED = {**polygon("rg1")["value"], "points": [[10.0, 10.0], [40.0, 10.0], [40.0, 51.0]]}
NEARLY = {**polygon("rg1")["value"], "points": [[10, 10], [40.000001, 10], [40, 50]]}


@pytest.mark.parametrize(
    ("region", "ours", "origin"),
    [
        pytest.param(polygon("rg1"), [], "drawn", id="nobody's prediction"),
        pytest.param(polygon("rg1", origin="manual"), [shown("rg1")], "accepted", id="a suggestion says manual, too"),
        pytest.param(polygon("rg1"), [shown("rg1", NEARLY)], "accepted", id="rounded on its way"),
        pytest.param(polygon("rg1"), [shown("rg1", MOVED)], "corrected", id="moved"),
        pytest.param(polygon("rg1", "dog"), [shown("rg1")], "corrected", id="another label"),
        pytest.param(polygon("rg1", origin="prediction"), [], "accepted", id="somebody else's prediction"),
        pytest.param(polygon("rg1", origin="prediction-changed"), [], "corrected", id="and changed"),
    ],
)
def test_where_a_region_came_from(region: dict[str, Any], ours: list[ShownRegion], origin: str) -> None:
    annotation = replace(ACCEPTED, result=(region,), shown=tuple(ours))
    assert chosen(annotation).origins == {"rg1": origin}


def test_deleted_regions_of_ours_are_refused_labels() -> None:
    ours = (shown("rg1"), shown("rg2", label="dog"), shown("rg3", label="dog"))
    assert chosen(replace(ACCEPTED, shown=ours)).refused == ("dog",)


def test_a_skipped_task_teaches_what_had_been_predicted_and_nothing_else() -> None:
    skipped = replace(ACCEPTED, state="skipped", shown=(shown("rg9", label="dog"),))
    one = chosen(skipped)
    assert (one.annotation_id, one.result, one.refused) == (None, (), ("cat", "dog")[1:])
    without = choose([TASK], [replace(skipped, shown=())])
    assert (without.choices, without.left_out) == ((), {"skipped, and nothing had been predicted": 1})


def test_a_skipped_task_refuses_also_what_was_left_standing() -> None:
    skipped = replace(ACCEPTED, state="skipped", shown=(shown("rg1"), shown("rg9", label="dog")))
    assert chosen(skipped).refused == ("cat", "dog"), "rg1 is still in its result"


@pytest.mark.parametrize(
    ("task", "annotations", "reason"),
    [
        pytest.param(TASK, [], "no annotation left", id="never annotated"),
        pytest.param(TASK, [replace(ACCEPTED, state="deleted")], "no annotation left", id="deleted"),
        pytest.param(
            replace(TASK, pictures=(COPIED, replace(COPIED, sha256=None))),
            [ACCEPTED],
            "a picture could not be copied yet",
            id="one of two pictures",
        ),
    ],
)
def test_what_is_left_out_is_counted(task: KeptTask, annotations: list[KeptAnnotation], reason: str) -> None:
    found = choose([task], annotations)
    assert (found.choices, found.left_out) == ((), {reason: 1})


def test_submitted_prompts_are_no_objects() -> None:
    box = {**polygon("q"), "from_name": "box"}
    annotation = replace(ACCEPTED, result=(polygon("rg1"), box))
    (one,) = choose([TASK], [annotation], {"box"}).choices
    assert [region["id"] for region in one.result] == ["rg1"]
    assert set(one.origins) == {"rg1"}


def test_each_picture_of_a_task_has_its_own_regions() -> None:
    pictures = (replace(COPIED, item_index=0), replace(COPIED, item_index=1, sha256="b" * 64))
    relation = {"type": "relation", "from_id": "rg1", "to_id": "rg2", "labels": ["on"]}
    result = (polygon("rg1", item_index=0), polygon("rg2", item_index=1), polygon("rg3"), relation)
    found = choose([replace(TASK, pictures=pictures)], [replace(ACCEPTED, result=result)]).choices
    assert [[region.get("id") for region in one.result] for one in found] == [["rg1", "rg3", None], ["rg2", None]]
    assert [one.number for one in found] == [0, 1]
