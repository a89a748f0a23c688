from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from xsam_backend.geometry.masks import mask_iou
from xsam_backend.geometry.raster import box_to_mask, ellipse_to_mask
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.annotations import picture_size_hw, read_annotation
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.results import write_regions
from xsam_backend.labelstudio.tags import ControlOptions, ControlTag, Label

RECORDED = Path(__file__).parents[1] / "recorded/label_studio"
SIZE_HW = (48, 80)
RING = ellipse_to_mask(24, 24, 20, 20, SIZE_HW) & ~ellipse_to_mask(24, 24, 9, 9, SIZE_HW)
TWO_PARTS = RING | box_to_mask(60, 10, 12, 20, SIZE_HW)


def output(kind: str, **options: Any) -> ControlTag:
    labels = (Label("cat", ("cat",)), Label("dog", ("dog",)))
    return ControlTag("out", f"{kind}Labels", kind.lower(), "image", labels, options=ControlOptions(**options))


def instances(*masks: np.ndarray) -> Instances:
    return Instances.of(np.stack(masks), np.full(len(masks), 0.8, np.float32), ("cat", "dog", "cat")[: len(masks)])


@pytest.mark.parametrize(
    ("control", "least_iou", "reason"),
    [
        (output("Brush"), 1.0, "brush loses nothing"),
        (output("Bitmask"), 1.0, "bitmask loses nothing"),
        (output("Polygon", polygon_iou=1.0), 1.0, "exact polygons lose nothing"),
        (output("Polygon"), 0.97, "polygons lose what the option allows"),
        (output("Polygon", polygon_iou=0.9), 0.9, "polygons lose what the option allows"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_round_trip_within_the_stated_loss(control: ControlTag, least_iou: float, reason: str) -> None:
    sent = instances(TWO_PARTS, RING, np.eye(48, 80, dtype=bool))
    annotation = read_annotation(write_regions(sent, control), SIZE_HW)
    assert annotation.left_out == ()
    assert annotation.instances.labels == sent.labels
    for back, mask in zip(annotation.instances.masks, sent.masks, strict=True):
        assert mask_iou(back, mask) >= least_iou, reason
    assert all(region.is_outline and region.score == pytest.approx(0.8) for region in annotation.regions)


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)))
def test_any_mask_survives_brush_bitmask_and_exact_polygons(mask: np.ndarray) -> None:
    for control in (output("Brush"), output("Bitmask"), output("Polygon", polygon_iou=1.0)):
        found = read_annotation(write_regions(instances(mask), control), mask.shape).instances
        assert len(found) == bool(mask.any())
        assert all((one == mask).all() for one in found.masks)


def test_boxes_and_ellipses_come_back_as_what_they_are() -> None:
    box = box_to_mask(8, 12, 40, 24, SIZE_HW)
    (region,) = read_annotation(write_regions(instances(box), output("Rectangle")), SIZE_HW).regions
    np.testing.assert_array_equal(region.mask, box)
    assert not region.is_outline
    (region,) = read_annotation(write_regions(instances(RING), output("Ellipse")), SIZE_HW).regions
    assert not region.is_outline


def test_ids_of_all_parts_are_kept() -> None:
    sent = write_regions(instances(TWO_PARTS), output("Polygon"))
    (region,) = read_annotation(sent, SIZE_HW).regions
    assert region.ids == tuple(one["id"] for one in sent)


def test_recorded_annotation() -> None:
    body = json.loads((RECORDED / "webhook_ANNOTATION_UPDATED.json").read_text())["request"]["body"]
    result = body["annotation"]["result"]
    size_hw = picture_size_hw(result)
    assert size_hw == (240, 320)
    annotation = read_annotation(result, size_hw)
    assert [(region.label, region.origin) for region in annotation.regions] == [
        ("cat", "prediction"),
        ("cat", "manual"),
    ]
    # The triangle (10, 10), (40, 10), (40, 40) per cent: 96 x 72 px / 2.
    assert annotation.instances.masks[0].sum() == pytest.approx(96 * 72 / 2, rel=0.02)


def test_submitted_prompts_are_no_objects() -> None:
    body = json.loads((RECORDED / "interactive_keypoint_two_positive_one_negative.json").read_text())["request"][
        "body"
    ]
    annotation = read_annotation(body["params"]["context"]["result"], (240, 320))
    assert annotation.regions == ()
    assert len(annotation.instances) == 0
    assert annotation.instances.size_hw == (240, 320)
    assert [reason for _, reason in annotation.left_out] == [
        "a prompt that was submitted, not an object (is_positive)"
    ] * 3


def polygon(region_id: str, points: list[list[float]], **more: Any) -> dict[str, Any]:
    value = {"points": points, "closed": True, "polygonlabels": [more.pop("label", "cat")]}
    return {"id": region_id, "type": "polygonlabels", "to_name": "image", "from_name": "out", "value": value} | more


SQUARE, OTHER = [[0, 0], [50, 0], [50, 50], [0, 50]], [[60, 60], [90, 60], [90, 90], [60, 90]]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (polygon("bad", [[0, 0], [1, 1]]), "three"),
        (polygon("bad", SQUARE) | {"value": None}, "'value'"),
        ({"id": "bad", "type": "choices", "value": {"choices": ["x"]}}, "has no area"),
        ({"id": "bad", "type": "keypointlabels", "value": {"x": 1, "y": 1}}, "has no area"),
        ({"id": "bad", "value": {}}, "type None has no area"),
        (polygon("good", OTHER) | {"id": "good"}, "an id that an earlier region has"),
        (polygon("bad", SQUARE) | {"value": {"points": SQUARE, "closed": False}}, "unfinished"),
    ],
    ids=["two points", "no value", "choices", "keypoint", "no type", "id twice", "unfinished"],
)
def test_bad_region_never_costs_the_others(bad: dict[str, Any], words: str) -> None:
    annotation = read_annotation([polygon("good", SQUARE), bad, polygon("also good", OTHER)], SIZE_HW)
    assert [region.ids for region in annotation.regions] == [("good",), ("also good",)]
    ((region_id, reason),) = annotation.left_out
    assert region_id == bad["id"]
    assert words in reason


@pytest.mark.parametrize(
    ("result", "ids", "reason"),
    [
        ([polygon("a", SQUARE), polygon("b", OTHER, parentID="a")], [("a", "b")], "a part of the same label"),
        ([polygon("b", OTHER, parentID="a"), polygon("a", SQUARE)], [("a", "b")], "in any order"),
        (
            [polygon("a", SQUARE), polygon("b", OTHER, parentID="a", label="dog")],
            [("a",), ("b",)],
            "another label is another object",
        ),
        ([polygon("b", OTHER, parentID="deleted")], [("b",)], "the parent is gone"),
        ([polygon("a", SQUARE, parentID="a")], [("a",)], "its own parent"),
        (
            [polygon("a", SQUARE, parentID="b"), polygon("b", OTHER, parentID="a")],
            [("a",), ("b",)],
            "each other's parent",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parts(result: list[dict[str, Any]], ids: list[tuple[str, ...]], reason: str) -> None:
    assert [region.ids for region in read_annotation(result, SIZE_HW).regions] == ids, reason


def test_object_of_which_a_part_was_changed_is_changed() -> None:
    first = polygon("a", SQUARE, origin="prediction")
    (region,) = read_annotation(
        [first, polygon("b", OTHER, parentID="a", origin="prediction-changed")], SIZE_HW
    ).regions
    assert region.origin == "prediction-changed"
    (region,) = read_annotation([first, polygon("b", OTHER, parentID="a", origin="prediction")], SIZE_HW).regions
    assert region.origin == "prediction"


def test_other_pictures_are_passed_over() -> None:
    result = [
        polygon("here", SQUARE, item_index=1),
        polygon("there", OTHER, item_index=0),
        polygon("nowhere said", OTHER),
        polygon("other tag", OTHER, item_index=1, to_name="second"),
    ]
    annotation = read_annotation(result, SIZE_HW, to_name="image", item_index=1)
    assert [region.ids for region in annotation.regions] == [("here",)]
    first = read_annotation(result, SIZE_HW, to_name="image", item_index=0)
    assert [region.ids for region in first.regions] == [("there",), ("nowhere said",)]


def test_plain_tag_takes_the_label_beside_it() -> None:
    xml = """<View><Image name="image" value="$image"/>
      <Labels name="what" toName="image"><Label value="dog"/></Labels>
      <Brush name="brush" toName="image" smart="false"/></View>"""
    sent = Instances.of(RING[None], np.array([0.8], np.float32), ("dog",))
    annotation = read_annotation(write_regions(sent, LabelConfig.parse(xml).outputs[0]), SIZE_HW)
    assert annotation.instances.labels == ("dog",)
    assert annotation.left_out == ()


def test_each_label_beside_a_plain_tag_has_its_own_tag() -> None:
    """And what annotators drew may have one of each: the first counts."""
    xml = """<View><Image name="image" value="$image"/>
      <Labels name="what" toName="image"><Label value="dog"/></Labels>
      <Labels name="how" toName="image"><Label value="wet"/></Labels>
      <Brush name="brush" toName="image" smart="false"/></View>"""
    sent = Instances.of(np.stack([RING, RING]), np.array([0.8, 0.7], np.float32), ("dog", "wet"))
    result = write_regions(sent, LabelConfig.parse(xml).outputs[0])
    assert [one["from_name"] for one in result] == ["brush", "what", "brush", "how"]
    assert read_annotation(result, SIZE_HW).instances.labels == ("dog", "wet")
    both = [*result[:2], {**result[3], "id": result[0]["id"]}]
    assert read_annotation(both, SIZE_HW).instances.labels == ("dog",)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["id", "type", "value", "parentID", "score", "to_name"]), st.text() | st.none()
        )
    )
)
def test_any_json_is_read(result: list[dict[str, Any]]) -> None:
    annotation = read_annotation(result, SIZE_HW)
    assert annotation.regions == ()
    assert len(annotation.left_out) == len([region for region in result if region.get("type") != "labels"])


def test_size_is_found_or_not() -> None:
    assert picture_size_hw([{}, {"original_width": 3, "original_height": 2}]) == (2, 3)
    assert picture_size_hw([{"original_width": "3", "original_height": 2}]) is None
    assert picture_size_hw([{"original_width": 10**400, "original_height": 2}]) is None
    assert picture_size_hw([]) is None


def test_a_score_that_no_float_holds_is_none() -> None:
    regions = write_regions(instances(RING), output("Rectangle"))
    annotation = read_annotation([{**regions[0], "score": 10**400}], SIZE_HW)
    assert [region.score for region in annotation.regions] == [None]
