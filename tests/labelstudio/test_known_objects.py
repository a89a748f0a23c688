"""What is annotated already: which annotation counts, what is an object of it, what is the same one found again."""

from __future__ import annotations

import base64
import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xsam_backend.errors import PromptError
from xsam_backend.geometry.brush_rle import brush_rle_to_mask, mask_to_brush_rle
from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.geometry.masks import Mask, mask_iou, mask_to_box_xyxy
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.known_objects import (
    SAME_IOU,
    KnownObject,
    edited_result,
    known_objects,
    without_known,
)
from xsam_backend.labelstudio.regions import geometry_of, read_region
from xsam_backend.region_masks import region_mask

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


PCT = st.floats(-20, 110)


def bitmask_url(mask: Mask) -> str:
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[..., 3] = np.where(mask, 255, 0)
    png = io.BytesIO()
    Image.fromarray(rgba).save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


DRAWN = {
    "rectangle": st.fixed_dictionaries(
        {"x": PCT, "y": PCT, "width": PCT, "height": PCT, "rotation": st.sampled_from([0, 30, 200])}
    ),
    "ellipse": st.fixed_dictionaries(
        {"x": PCT, "y": PCT, "radiusX": PCT, "radiusY": PCT, "rotation": st.sampled_from([0, 30])}
    ),
    "polygon": st.fixed_dictionaries({"points": st.lists(st.tuples(PCT, PCT).map(list), min_size=3, max_size=6)}),
    "brush": st.builds(lambda mask: {"format": "rle", "rle": mask_to_brush_rle(mask)}, box_masks),
    "bitmask": st.builds(lambda mask: {"imageDataURL": bitmask_url(mask)}, box_masks),
}
VALUES = st.one_of(*(st.tuples(st.just(kind), value) for kind, value in DRAWN.items()))


def in_whole_masks(region: dict[str, Any], size_hw: tuple[int, int]) -> Mask | None:
    """A region as a mask of the whole picture; None where it can't be read."""
    if geometry_of(region) == "brush":
        mask = brush_rle_to_mask(region["value"]["rle"], size_hw)
        return mask if mask.any() else None
    try:
        return region_mask(read_region(region, size_hw), size_hw)
    except PromptError:
        return None


@given(st.lists(VALUES, max_size=5), st.lists(box_masks, max_size=4))
def test_regions_of_every_tag_are_known_as_by_whole_masks(
    values: list[tuple[str, dict[str, Any]]], found: list[np.ndarray]
) -> None:
    drawn = [
        {**rectangle(str(number)), "type": f"{kind}labels", "value": value}
        for number, (kind, value) in enumerate(values)
    ]
    whole = [(geometry_of(region), mask) for region in drawn if (mask := in_whole_masks(region, SIZE)) is not None]
    known = known_objects(drawn, {}, SIZE, "image", None)
    assert [one.mask.box_xyxy for one in known] == [mask_to_box_xyxy(mask) for _, mask in whole]
    found += [mask for _, mask in whole]  # or hardly any would be the same
    masks = np.stack(found) if found else np.zeros((0, *SIZE), np.bool_)
    labels = tuple(str(number) for number in range(len(found)))

    def is_same(mask: Mask, geometry: str, other: Mask) -> bool:
        if geometry in ("rectangle", "ellipse"):
            mask, other = in_its_box(mask), in_its_box(other)
        return bool(mask.any()) and mask_iou(mask, other) > SAME_IOU

    expected = [
        label for label, mask in zip(labels, found, strict=True) if not any(is_same(mask, *one) for one in whole)
    ]
    new = without_known(Instances.of(masks, np.ones(len(found), np.float32), labels), known)
    assert list(new.labels) == expected


def in_its_box(mask: Mask) -> Mask:
    x0, y0, x1, y1 = mask_to_box_xyxy(mask) or (0, 0, 0, 0)
    return box_mask(x0, y0, x1 - x0, y1 - y0)


def test_many_regions_of_a_large_picture_take_no_mask_of_its_size() -> None:
    size_hw = (3000, 4000)
    square = {"x": 10, "y": 10, "width": 2, "height": 2, "rotation": 0}
    mask = np.zeros(size_hw, np.bool_)
    mask[300:360, 400:480] = True
    values = {
        "rectangle": square,
        "ellipse": {"x": 10, "y": 10, "radiusX": 1, "radiusY": 1, "rotation": 0},
        "polygon": {"points": [[10, 10], [12, 10], [12, 12]]},
        "brush": {"format": "rle", "rle": mask_to_brush_rle(mask)},
    }
    drawn = [
        {**rectangle(f"{kind} {number}"), "type": f"{kind}labels", "value": value}
        for kind, value in values.items()
        for number in range(10)
    ]
    tracemalloc.start()
    known = known_objects(drawn, {}, size_hw, "image", None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(known) == len(drawn)
    assert peak < mask.nbytes / 4, "of one mask; all that is kept, too"
