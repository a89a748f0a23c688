from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image

from xsam_backend.errors import LabelConfigError
from xsam_backend.geometry.masks import mask_iou
from xsam_backend.geometry.raster import box_to_mask, ellipse_to_mask, polygons_to_mask
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.results import MAX_PARTS, WRITERS, write_prediction, write_regions, write_text
from xsam_backend.labelstudio.tags import GEOMETRIES, ControlOptions, ControlTag, Label

RECORDED = Path(__file__).parents[1] / "recorded/label_studio"
EVERY_TAG = (RECORDED / "label_configs/every_image_tag.xml").read_text()
CONFIG = LabelConfig.parse(EVERY_TAG)
OUTPUTS = [control for control in CONFIG.controls if control.geometry != "text"]
SIZE_HW = (48, 80)

RING = ellipse_to_mask(24, 24, 20, 20, SIZE_HW) & ~ellipse_to_mask(24, 24, 9, 9, SIZE_HW)
TWO_PARTS = RING | box_to_mask(60, 10, 12, 20, SIZE_HW)


def instances(*masks: np.ndarray, labels: tuple[str | None, ...] | None = None) -> Instances:
    scores = np.linspace(0.9, 0.5, len(masks)).astype(np.float32)
    return Instances.of(np.stack(masks), scores, labels or ("cat",) * len(masks))


def control(name: str) -> ControlTag:
    return CONFIG.control(name)


def plain(kind: str, **options: Any) -> ControlTag:
    return ControlTag(
        "out", f"{kind}Labels", kind.lower(), "image", (Label("cat", ("cat",)),), options=ControlOptions(**options)
    )


def to_mask(points_pct: list[list[float]]) -> np.ndarray:
    return np.asarray(points_pct) * (SIZE_HW[1], SIZE_HW[0]) / 100


def test_a_writer_for_every_shape() -> None:
    assert tuple(WRITERS) == GEOMETRIES


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda one: one.name)
def test_fields_are_those_of_the_accepted_recordings(output: ControlTag) -> None:
    """Every recorded region that the editor showed without error has these keys, and values of these types."""
    rows = json.loads((RECORDED / "result_variants.json").read_text())["rows"]
    names = {"poly": "polygon", "rect": "rectangle", "ell": "ellipse", "kp": "keypoint", "brush": "brush"}
    (accepted,) = rows[names.get(output.name, "bitmask_rgba_white_alpha")]["result"]
    (region,) = write_regions(instances(RING), output)
    assert set(accepted) <= set(region)
    assert set(accepted["value"]) == set(region["value"])
    for key, value in accepted["value"].items():
        kinds = (int, float) if isinstance(value, int | float) else type(value)
        assert isinstance(region["value"][key], kinds)
    assert region["type"] == accepted["type"]
    assert (region["original_width"], region["original_height"]) == (80, 48)
    assert region["image_rotation"] == 0
    assert region["value"][region["type"]] == ["cat"]
    assert "item_index" not in region


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda one: one.name)
def test_sdk_accepts_the_prediction(output: ControlTag) -> None:
    regions = write_regions(instances(TWO_PARTS, RING), output, item_index=0)
    prediction = write_prediction(regions, "base")
    interface = LabelInterface(EVERY_TAG)
    assert interface.validate_prediction(prediction, return_errors=True) == []


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda one: one.name)
def test_everything_is_json_native_and_finite(output: ControlTag) -> None:
    prediction = write_prediction(write_regions(instances(TWO_PARTS, RING), output, 2), "v1")
    assert json.loads(json.dumps(prediction, allow_nan=False)) == prediction
    for region in prediction["result"]:
        assert type(region["score"]) is float
        assert 0 <= region["score"] <= 1
        assert region["item_index"] == 2


def test_ids_are_new_in_every_reply() -> None:
    replies = [write_regions(instances(TWO_PARTS, RING), output) for output in OUTPUTS for _ in range(2)]
    ids = [region["id"] for reply in replies for region in reply]
    assert len(set(ids)) == len(ids)
    assert all(isinstance(one, str) and one for one in ids)


def test_brush_keeps_every_pixel_with_0_and_255() -> None:
    (region,) = write_regions(instances(TWO_PARTS), control("brush"))
    values = decode_rle(region["value"]["rle"]).reshape(*SIZE_HW, 4)
    np.testing.assert_array_equal(values, np.where(TWO_PARTS, 255, 0)[..., None].repeat(4, axis=2))


def test_bitmask_keeps_every_pixel_in_alpha() -> None:
    (region,) = write_regions(instances(TWO_PARTS), control("bm"))
    data = base64.b64decode(region["value"]["imageDataURL"].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as png:
        assert png.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(png.getchannel("A")) == 255, TWO_PARTS)


def test_parts_of_a_polygon_hang_below_the_largest_and_holes_stay() -> None:
    first, second = write_regions(instances(TWO_PARTS), control("poly"))
    assert "parentID" not in first
    assert second["parentID"] == first["id"] != second["id"]
    assert first["score"] == second["score"]
    drawn = polygons_to_mask([to_mask(region["value"]["points"]) for region in (first, second)], SIZE_HW)
    assert mask_iou(drawn, TWO_PARTS) >= 0.97
    assert not drawn[24, 24]


def test_exact_polygons_on_wish() -> None:
    regions = write_regions(instances(TWO_PARTS), plain("Polygon", polygon_iou=1.0))
    drawn = polygons_to_mask([to_mask(region["value"]["points"]) for region in regions], SIZE_HW)
    np.testing.assert_array_equal(drawn, TWO_PARTS)


def test_a_mask_of_specks_does_not_freeze_the_editor() -> None:
    specks = np.zeros((60, 60), bool)
    specks[::3, ::3] = True
    assert len(write_regions(instances(specks), plain("Polygon", polygon_iou=1.0))) == MAX_PARTS


def test_rectangle_is_straight_with_exclusive_maxima() -> None:
    (region,) = write_regions(instances(box_to_mask(8, 12, 40, 24, SIZE_HW)), control("rect"))
    value = {key: region["value"][key] for key in ("x", "y", "width", "height", "rotation")}
    assert value == {"x": 10, "y": 25, "width": 50, "height": 50, "rotation": 0}


def test_rectangle_turns_on_wish() -> None:
    mask = box_to_mask(40, 8, 30, 12, SIZE_HW, 30)
    (region,) = write_regions(instances(mask), plain("Rectangle", rotated=True))
    value = region["value"]
    assert value["rotation"] == pytest.approx(30, abs=4)
    x, y, width, height = np.array([value[key] for key in ("x", "y", "width", "height")]) * (80, 48, 80, 48) / 100
    assert mask_iou(box_to_mask(x, y, width, height, SIZE_HW, value["rotation"]), mask) > 0.8


@given(st.floats(5, 20), st.floats(5, 20), st.floats(0, 179))
def test_ellipse_of_an_ellipse_is_itself(radius_x: float, radius_y: float, rotation: float) -> None:
    mask = ellipse_to_mask(40, 24, radius_x, radius_y, SIZE_HW, rotation)
    (region,) = write_regions(instances(mask), control("ell"))
    value = region["value"]
    x, y, wide, high = np.array([value[key] for key in ("x", "y", "radiusX", "radiusY")]) * (80, 48, 80, 48) / 100
    assert mask_iou(ellipse_to_mask(x, y, wide, high, SIZE_HW, value["rotation"]), mask) > 0.85


def test_upright_ellipse_in_a_narrow_picture_stays_within_100_per_cent() -> None:
    mask = ellipse_to_mask(5, 200, 3, 190, (400, 10))
    (region,) = write_regions(instances(mask), control("ell"))
    value = region["value"]
    assert (value["radiusX"], value["radiusY"]) == (pytest.approx(30, abs=2), pytest.approx(47.5, abs=1))
    assert value["rotation"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("output", "mask", "reason"),
    [
        (plain("Ellipse"), np.ones((9, 9), bool), "radii of 57.7 per cent would have its moments"),
        (plain("Ellipse"), np.eye(60, dtype=bool), "the picture's diagonal, 81.7 per cent"),
        (plain("Rectangle", rotated=True), np.eye(60, dtype=bool), "a side of 141 per cent"),
    ],
    ids=["ellipse of a full mask", "ellipse of a diagonal", "rectangle of a diagonal"],
)
def test_nothing_is_larger_than_label_studios_check_allows(output: ControlTag, mask: np.ndarray, reason: str) -> None:
    tag = f'<{output.tag} name="out" toName="image"><Label value="cat"/></{output.tag}>'
    interface = LabelInterface(f'<View><Image name="image" value="$image"/>{tag}</View>')
    prediction = write_prediction(write_regions(instances(mask), output), "v")
    assert interface.validate_prediction(prediction, return_errors=True) == [], reason


def test_ellipse_of_a_thin_line_has_a_width() -> None:
    line = np.zeros(SIZE_HW, bool)
    line[20, 10:60] = True
    (region,) = write_regions(instances(line), control("ell"))
    # A row of pixels is one pixel high: two standard deviations of that are 1 / sqrt(3).
    assert region["value"]["radiusY"] == pytest.approx(100 / 48 / 3**0.5, abs=1e-3)


def test_keypoint_lies_inside() -> None:
    (region,) = write_regions(instances(RING), control("kp"))
    x, y = region["value"]["x"] * 0.8, region["value"]["y"] * 0.48
    assert RING[int(y), int(x)]
    assert region["value"]["width"] > 0


def test_one_pixel_makes_a_region_everywhere_and_no_pixel_none() -> None:
    pixel, nothing = np.zeros(SIZE_HW, bool), np.zeros(SIZE_HW, bool)
    pixel[47, 79] = True
    for output in OUTPUTS:
        assert len(write_regions(instances(pixel, nothing), output)) == 1
        assert write_regions(Instances.empty(SIZE_HW), output) == []


def test_label_that_the_control_lacks_is_a_note() -> None:
    cat, ball, none = write_regions(instances(RING, RING, RING, labels=("Cat", "red ball", None)), control("poly"))
    assert cat["value"]["polygonlabels"] == ["cat"]
    assert "meta" not in cat
    assert ball["value"]["polygonlabels"] == []
    assert ball["meta"] == {"text": ["red ball"]}
    assert none["value"]["polygonlabels"] == []
    assert "meta" not in none


CAPTIONED = LabelConfig.parse(
    """<View><Image name="image" value="$image"/>
      <PolygonLabels name="poly" toName="image" smart="false"><Label value="Car"/><Label value="Car wash"/>
        <Label value="Lorry" predicted_values="truck"/></PolygonLabels>
      <TextArea name="phrase" toName="image" perRegion="true"/></View>"""
)


@pytest.mark.parametrize(
    ("phrase", "label", "reason"),
    [
        ("a red car", ["Car"], "the label's word"),
        ("the car wash", ["Car wash"], "the longest"),
        ("an old truck", ["Lorry"], "one of its phrases"),
        ("a truck behind a car", ["Lorry"], "the first, not the last"),
        ("a car behind a truck", ["Car"], "the first, not the longest"),
        ("a car-truck", ["Lorry"], "the last of neighbours"),
        ("a cartwheel", [], "a word, not a part of one"),
        ("Car", ["Car"], "exactly"),
    ],
)
def test_what_a_caption_calls_a_region_is_said_beside_it(phrase: str, label: list[str], reason: str) -> None:
    output, area = CAPTIONED.outputs[0], CAPTIONED.control("phrase")
    found = instances(RING, labels=(phrase,))
    region, said = write_regions(found, output, 2, phrases=[phrase], phrase_area=area)
    assert region["value"]["polygonlabels"] == label, reason
    assert "meta" not in region
    assert (said["id"], said["type"], said["from_name"]) == (region["id"], "textarea", "phrase")
    assert (said["to_name"], said["item_index"], said["value"]["text"]) == ("image", 2, [phrase])
    assert said["value"]["points"] == region["value"]["points"], "as Label Studio writes it"
    assert write_prediction([region, said], "v")["score"] == region["score"], "counted once"
    (noted,) = write_regions(found, output, phrases=[phrase])
    assert noted["meta"] == {"text": [phrase]}, "without such an area, a note"


def test_words_without_a_label_go_where_words_go_and_parts_say_them_once() -> None:
    output, area = CAPTIONED.outputs[0], CAPTIONED.control("phrase")
    first, second, said = write_regions(instances(TWO_PARTS, labels=("a boat",)), output, phrase_area=area)
    assert second["parentID"] == first["id"] == said["id"]
    assert said["value"]["text"] == ["a boat"]
    assert "meta" not in first
    (known,) = write_regions(instances(RING, labels=("car",)), output, phrase_area=area)
    assert known["value"]["polygonlabels"] == ["Car"], "its label says it already"


def test_plain_tag_with_labels_beside_it() -> None:
    xml = """<View><Image name="image" value="$image"/>
      <Labels name="what" toName="image"><Label value="cat"/></Labels>
      <Brush name="brush" toName="image" smart="false"/></View>"""
    shape, label = write_regions(instances(RING), LabelConfig.parse(xml).outputs[0])
    assert shape["type"] == "brush"
    assert set(shape["value"]) == {"format", "rle"}
    assert label["id"] == shape["id"]
    assert (label["type"], label["from_name"], label["value"]["labels"]) == ("labels", "what", ["cat"])
    assert write_prediction([shape, label], "v")["score"] == shape["score"]


def test_plain_tag_without_labels() -> None:
    xml = '<View><Image name="image" value="$image"/><Polygon name="p" toName="image"/></View>'
    (region,) = write_regions(instances(RING, labels=(None,)), LabelConfig.parse(xml).outputs[0])
    assert region["type"] == "polygon"
    assert set(region["value"]) == {"points", "closed"}


@pytest.mark.parametrize(
    ("scores", "expected", "reason"),
    [
        ([0.9, 0.5], 0.7, "the mean"),
        ([0.25], 0.25, "of one"),
        ([], 0.0, "nothing found: somebody should look first"),
    ],
)
def test_score_of_a_prediction(scores: list[float], expected: float, reason: str) -> None:
    masks = np.stack([RING] * len(scores)) if scores else np.zeros((0, *SIZE_HW), bool)
    found = Instances.of(masks, np.array(scores, np.float32), ("cat",) * len(scores))
    prediction = write_prediction(write_regions(found, control("brush")), "base+3")
    assert prediction["score"] == pytest.approx(expected, abs=1e-6), reason
    assert type(prediction["score"]) is float
    assert prediction["model_version"] == "base+3"


def test_parts_of_one_instance_count_once_in_the_score() -> None:
    prediction = write_prediction(write_regions(instances(TWO_PARTS, RING), control("poly")), "v")
    assert len(prediction["result"]) == 3
    assert prediction["score"] == pytest.approx((0.9 + 0.5) / 2, abs=1e-6)


def test_text_is_written_as_recorded() -> None:
    region = write_text("a cat on a mat", control("prompt"))
    assert region == {
        "id": region["id"],
        "type": "textarea",
        "from_name": "prompt",
        "to_name": "image",
        "value": {"text": ["a cat on a mat"]},
    }
    assert write_text("x", control("prompt"), 1)["item_index"] == 1
    assert write_prediction([region], "v")["score"] == 0.0


def test_controls_that_cannot_hold_it_are_refused() -> None:
    with pytest.raises(LabelConfigError, match="TextArea 'prompt' cannot hold masks"):
        write_regions(instances(RING), control("prompt"))
    with pytest.raises(LabelConfigError, match="PolygonLabels 'poly' cannot hold text"):
        write_text("x", control("poly"))
