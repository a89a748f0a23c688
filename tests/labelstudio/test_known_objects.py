"""What is annotated already: which annotation counts, what is an object of it, what is the same one found again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.geometry.masks import mask_iou
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.known_objects import (
    SAME_IOU,
    KnownObject,
    edited_result,
    known_objects,
    without_known,
)

SIZE = (40, 60)


def rectangle(region_id: str, x: float = 10, **changes: Any) -> dict[str, Any]:
    value = {"x": x, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["cat"]}
    region = {"id": region_id, "type": "rectanglelabels", "from_name": "rect", "to_name": "image", "value": value}
    return {**region, **changes}


def saved(*ids: str, at: str = "") -> dict[str, Any]:
    return {"result": [{"id": region_id} for region_id in ids], "updated_at": at}


def made(*ids: str, at: str) -> dict[str, Any]:
    return {"result": [{"id": region_id} for region_id in ids], "created_at": at}


@pytest.mark.parametrize(
    ("task", "ids", "reason"),
    [
        ({}, [], "a batch's task has neither"),
        ({"drafts": [saved("a", "b")], "annotations": []}, ["a", "b"], "the only draft"),
        ({"drafts": [saved("a", at="09"), saved("b", at="10"), saved("c", at="08")]}, ["b"], "the draft saved last"),
        (
            {"drafts": [{"result": [{"id": "a"}]}, saved("b", at="2025-01-02")]},
            ["b"],
            "one without a time isn't newer",
        ),
        ({"drafts": [saved("a")], "annotations": [saved("b")]}, ["a"], "a draft goes before what was submitted"),
        ({"drafts": [], "annotations": [saved("b")]}, ["b"], "the only annotation"),
        ({"annotations": [saved("b"), saved("c")]}, [], "one annotator's are not another one's"),
        ({"annotations": [saved("b"), saved("c")], "predictions": [saved("p")]}, [], "somebody has touched the task"),
        (
            {"annotations": [saved("b")], "predictions": [saved("p")]},
            ["b"],
            "an annotation goes before what was shown",
        ),
        (
            {"drafts": [], "annotations": [], "predictions": [made("p", "q", at="12"), made("r", at="11")]},
            ["p", "q"],
            "untouched: the newest prediction is on the page",
        ),
        ({"predictions": [saved("p"), saved("q")]}, ["q"], "predictions without a time: the last"),
        ({"drafts": [None, {"result": None}], "annotations": "?"}, [], "nothing of the sort that is expected"),
        ({"drafts": [{"result": [5, {"id": "a"}]}]}, ["a"], "no region among regions"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_which_annotation_is_being_edited(task: dict[str, Any], ids: list[str], reason: str) -> None:
    assert [region["id"] for region in edited_result(task)] == ids, reason


def test_prompts_and_other_pictures_are_no_objects() -> None:
    drawn = [
        rectangle("object"),
        rectangle("asks"),
        rectangle("elsewhere", to_name="other"),
        rectangle("next", item_index=1),
        {**rectangle("click"), "type": "keypointlabels", "is_positive": True},
    ]
    found = known_objects(drawn, {"result": [{"id": "asks"}]}, SIZE, "image", None)
    assert [one.mask.box_xyxy for one in found] == [(6, 4, 18, 12)] * 2, (
        "the object, and the one of a list's other picture"
    )
    assert len(known_objects(drawn, {"result": [{"id": "asks"}]}, SIZE, "image", 0)) == 1
    assert len(known_objects(drawn, {"result": [{"id": {}}]}, SIZE, "image", 0)) == 2, "an id may be anything"


def polygon(region_id: str, x: float, **changes: Any) -> dict[str, Any]:
    value = {"points": [[x, 10], [x + 20, 10], [x + 20, 30], [x, 30]], "closed": True, "polygonlabels": ["cat"]}
    return rectangle(region_id, type="polygonlabels", value=value, **changes)


def test_parts_of_one_object_are_one() -> None:
    (whole,) = known_objects([polygon("a", 10), polygon("b", 60, parentID="a")], {}, SIZE, "image", None)
    assert whole.mask.box_xyxy == (6, 4, 48, 12)
    both = np.zeros(SIZE, np.bool_)
    both[4:12, 6:18] = both[4:12, 36:48] = True
    assert not len(without_known(Instances.of(both[None], np.ones(1, np.float32), ("cat",)), [whole]))


def test_what_a_rectangle_was_drawn_around_is_known_by_its_box() -> None:
    """A diagonal pen fills little of its rectangle."""
    pen = np.zeros(SIZE, np.bool_)
    pen[np.arange(4, 12), np.arange(6, 14)] = True
    pen[11, 17] = True
    instances = Instances.of(pen[None], np.ones(1, np.float32), ("pen",))
    assert not len(without_known(instances, known_objects([rectangle("a")], {}, SIZE, "image", None)))
    outlined = known_objects([polygon("a", 10)], {}, SIZE, "image", None)
    assert len(without_known(instances, outlined)) == 1, "an outline tells more"


def box_mask(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


box_masks = st.builds(box_mask, st.integers(0, 50), st.integers(0, 30), st.integers(0, 30), st.integers(0, 20))


@given(st.lists(box_masks, max_size=5), st.lists(box_masks, max_size=5))
def test_the_same_are_left_out_the_others_stay_in_order(found: list[np.ndarray], known: list[np.ndarray]) -> None:
    """As if whole masks were compared. An empty mask is nobody's object."""
    masks = np.stack(found) if found else np.zeros((0, *SIZE), np.bool_)
    labels = tuple(str(number) for number in range(len(found)))
    drawn = [KnownObject(CroppedMask.of(mask), is_outline=True) for mask in known if mask.any()]
    new = without_known(Instances.of(masks, np.ones(len(found), np.float32), labels), drawn)
    expected = [
        str(number)
        for number, mask in enumerate(found)
        if not any(mask.any() and other.any() and mask_iou(mask, other) > SAME_IOU for other in known)
    ]
    assert list(new.labels) == expected
