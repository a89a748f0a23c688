"""The 76 recorded shapes of a prediction: which of them we write, which never, and what we read of each.

``docs/label-studio-cases.md`` tells it case by case.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_sdk.label_interface import LabelInterface
from result_marks import as_sent, marks_of

from xsam_backend.instances import Instances
from xsam_backend.labelstudio.annotations import read_annotation
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.results import write_prediction, write_regions, write_text

RECORDED = json.loads(
    (Path(__file__).parents[1] / "recorded/label_studio/result_variants.json").read_text(encoding="utf-8")
)
ROWS: dict[str, dict[str, Any]] = RECORDED["rows"]
SIZE_HW = (240, 320)

WRITTEN = {
    "polygon",
    "polygon_keyhole",
    "polygon_two_parts_parentID",
    "rectangle",
    "rectangle_rotated",
    "ellipse",
    "keypoint",
    "brush",
    "brush_full_mask",
    "bitmask_rgba_white_alpha",
    "bitmask_rgba_black_alpha",
    "textarea",
    "empty_labels",
    "empty_result",
    "brush_multiple_results",
    "polygon_item_index_0",
}
"""We write these, or (the black bitmask) what Label Studio can't tell from them."""

MARKS = {
    "polygon_no_closed": "other keys than the shape's",
    "polygon_closed_false": "the polygon is open",
    "polygon_two_points": "fewer than three points",
    "polygon_hole_nested_rings": "a coordinate is no number",
    "polygon_hole_key": "other keys than the shape's",
    "polygon_two_parts_same_id": "an id twice",
    "polygon_meta_text_score_readonly": "a key that Label Studio has no use for",
    "polygon_out_of_range": "beyond the picture",
    "polygon_type_plain": "type is not the control's",
    "rectangle_no_rotation": "other keys than the shape's",
    "keypoint_no_width": "other keys than the shape's",
    "brush_no_format": "other keys than the shape's",
    "brush_no_dims": "no size of the picture",
    "brush_wrong_dims_field": "another size than the picture's",
    "brush_rle_larger_than_image": "a brush of another size than the picture",
    "brush_rle_smaller_than_image": "a brush of another size than the picture",
    "brush_empty_mask": "a mask of nothing",
    "brush_mask_0_1_values": "a brush with values besides 0 and 255",
    "brush_empty_rle_list": "a brush without bytes",
    "brush_maskDataURL": "other keys than the shape's",
    "bitmask_grayscale_no_alpha": "a PNG without alpha",
    "bitmask_half_size": "a PNG of another size than the picture",
    "bitmask_empty": "a mask of nothing",
    "bitmask_raw_base64_no_prefix": "an address that does not say PNG",
    "bitmask_jpeg_prefix_wrong": "an address that does not say PNG",
    "bitmask_no_dims": "no size of the picture",
    "vector_open": "a shape that no writer has",
    "vector_closed": "a shape that no writer has",
    "vector_xy_only": "a shape that no writer has",
    "vector_closed_closable": "a shape that no writer has",
    "vector_xy_only_closable": "a shape that no writer has",
    "no_id": "no id",
    "int_id": "the id is no text",
    "no_type": "no type",
    "no_from_name": "no from_name",
    "no_to_name": "no to_name",
    "no_dims": "no size of the picture",
    "no_value": "no value",
    "unknown_from_name": "from_name is not in the config",
    "unknown_to_name": "to_name is not the control's",
    "unknown_label": "a label that the control lacks",
    "no_label_key": "other keys than the shape's",
    "labels_as_string": "the labels are no list",
    "two_labels": "several labels",
    "wrong_label_key": "other keys than the shape's",
    "type_control_mismatch": "type is not the control's",
    "unknown_type": "type is not the control's",
    "labels_key_generic": "type is not the control's",
    "score_string": "the score is no number from 0 to 1",
    "polygon_negative_score": "the score is no number from 0 to 1",
    "nan_points": "a coordinate is no number",
    "result_not_list": "the result is no list",
    "null_region": "a region is no object",
    "good_after_bad": "type is not the control's",
    "same_id_twice_different_shapes": "an id twice",
    "extra_fields": "a key that Label Studio has no use for",
    "polygon_image_rotation_90": "a turned view",
    "polygon_item_index_5": "item_index is not the picture's",
    "parentID_null": "parentID is no region before it",
    "meta_string": "meta holds no list of texts",
}
"""We never write these, because of this."""


def test_every_recorded_shape_is_written_or_has_a_reason_why_not() -> None:
    assert sorted([*WRITTEN, *MARKS]) == sorted(ROWS)


@pytest.mark.parametrize("case", ROWS)
def test_the_marks_tell_recorded_shapes_apart(case: str) -> None:
    """The property below proves only what these marks can see: so each must see its case."""
    item_index = 0 if case.startswith("polygon_item_index") else None
    marks = marks_of(ROWS[case]["result"], RECORDED["label_config"], SIZE_HW, item_index)
    assert (not marks) if case in WRITTEN else MARKS[case] in marks


TAGS = ("Polygon", "Brush", "Bitmask", "Rectangle", "Ellipse", "KeyPoint")
LABELS = '<Label value="cat"/><Label value="dog"/>'
OUTPUTS = "".join(
    f'<{tag}Labels name="{tag}{number}" toName="image" {option}>{LABELS}</{tag}Labels>'
    for tag in TAGS
    for number, option in enumerate(
        {
            "Polygon": ("", 'model_polygon_iou="1"', 'model_polygon_iou="0.6"'),
            "Rectangle": ("", 'model_rotated="true"'),
        }.get(tag, ("",))
    )
)
PLAIN = "".join(f'<{tag} name="{tag}" toName="image"/>' for tag in TAGS)
PICTURE = '<Image name="image" value="$image"/>'
WORDS = """<TextArea name="phrase" toName="image" perRegion="true"/>
<TextArea name="caption" toName="image" smart="false"/>"""
CONFIGS = {
    "with labels": f"<View>{PICTURE}{OUTPUTS}{WORDS}</View>",
    "labels beside": f'<View>{PICTURE}<Labels name="what" toName="image">{LABELS}</Labels>{PLAIN}{WORDS}</View>',
    "no labels": f"<View>{PICTURE}{PLAIN}{WORDS}</View>",
}
PARSED = {name: LabelConfig.parse(xml) for name, xml in CONFIGS.items()}
INTERFACES = {name: LabelInterface(xml) for name, xml in CONFIGS.items()}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_nothing_we_write_has_a_mark(data: st.DataObject) -> None:
    """Any masks, through any control, with any labels, scores, words, in a list of pictures or not."""
    name = data.draw(st.sampled_from(sorted(CONFIGS)))
    config = PARSED[name]
    output = data.draw(st.sampled_from([control for control in config.controls if control.geometry != "text"]))
    shape = (data.draw(st.integers(0, 3)), *data.draw(array_shapes(min_dims=2, max_dims=2, max_side=12)))
    masks = data.draw(arrays(np.bool_, shape))
    scores = data.draw(arrays(np.float32, len(masks), elements=st.floats(0, 1, width=32)))
    words = st.sampled_from(["cat", "Dog", "a red cat", "unicorn", "straße"])
    found = Instances.of(masks, scores, tuple(data.draw(st.none() | words) for _ in masks))
    item_index = data.draw(st.none() | st.integers(0, 9))
    phrases = [data.draw(words) for _ in masks] if data.draw(st.booleans()) else []
    area = config.control("phrase") if data.draw(st.booleans()) else None

    regions = write_regions(found, output, item_index, phrases=phrases, phrase_area=area)
    if data.draw(st.booleans()):
        regions.append(write_text("a cat", config.control("caption"), item_index))
    prediction = as_sent(write_prediction(regions, "base+3"))

    size_hw = (masks.shape[1], masks.shape[2])
    assert marks_of(prediction["result"], CONFIGS[name], size_hw, item_index) == frozenset()
    shapes = [region for region in prediction["result"] if region["type"] == output.region_type]
    assert all("score" in region for region in shapes)
    assert len([region for region in shapes if "parentID" not in region]) == masks.any(axis=(1, 2)).sum()
    assert set(prediction) == {"result", "score", "model_version"}
    assert type(prediction["score"]) is float
    assert 0 <= prediction["score"] <= 1
    assert INTERFACES[name].validate_prediction(prediction, return_errors=True) == []


def test_two_outputs_of_one_config_are_written_into_one_result() -> None:
    """As recorded in ``brush_multiple_results``."""
    found = Instances.of(np.ones((1, *SIZE_HW), bool), np.ones(1, np.float32), ("cat",))
    config = LabelConfig.parse(RECORDED["label_config"])
    result = [region for name in ("brush", "poly") for region in write_regions(found, config.control(name))]
    assert marks_of(result, RECORDED["label_config"], SIZE_HW) == frozenset()
    assert [region["type"] for region in result] == ["brushlabels", "polygonlabels"]


READ_OTHERWISE = {
    "polygon_two_points": (0.0, "a line has no area"),
    "brush_wrong_dims_field": (0.0, "its number of values does not fit the size that it states"),
    "brush_rle_larger_than_image": (0.249, "scaled from the size that it states"),
    "brush_rle_smaller_than_image": (0.229, "scaled from the size that it states"),
    "brush_mask_0_1_values": (0.0, "as good as invisible"),
    "bitmask_jpeg_prefix_wrong": (0.0, "only PNG is unpacked"),
    "vector_closed_closable": (0.0, "no tag that we know"),
    "vector_xy_only_closable": (0.0, "no tag that we know"),
    "labels_key_generic": (0.0, "what has type labels says the label of a shape with the same id"),
    "no_type": (0.0, "the editor is broken by it"),
    "no_value": (0.0, "the editor is broken by it"),
    "unknown_type": (0.0, "the editor is broken by it"),
    "result_not_list": (0.0, "the editor is broken by it"),
    "labels_as_string": (0.25, "the shape is whole, its label is not"),
    "score_string": (0.25, "all of it is whole but the score"),
    "null_region": (0.25, "one bad region never costs the others"),
    "good_after_bad": (0.25, "one bad region never costs the others"),
}
"""Share of the picture that we read where the editor paints another, or nothing for an error of its own."""

LABELLED_OTHERWISE = {"no_from_name", "unknown_from_name", "type_control_mismatch"}
"""The editor leaves out a label whose control is not its own; we read what the region says."""

RIM = 0.045
"""What outlines and the label tag add to the painted share."""


@pytest.mark.parametrize("case", ROWS)
def test_every_recorded_shape_is_read_as_the_editor_paints_it(case: str) -> None:
    regions = read_annotation(ROWS[case]["result"], SIZE_HW, to_name="image").regions
    area = float(np.any([region.mask for region in regions], axis=0).mean()) if regions else 0.0
    if case in READ_OTHERWISE:
        share, reason = READ_OTHERWISE[case]
        assert area == pytest.approx(share, abs=1e-3), reason
        return
    editor = ROWS[case]["editor"]
    assert area - 0.001 <= editor["painted_fraction_of_image"] <= area + RIM
    if regions and case not in LABELLED_OTHERWISE:
        first = [labels[0] if labels else None for labels in editor["labels"]]
        assert {region.label for region in regions} == set(first)
