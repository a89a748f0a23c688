from __future__ import annotations

import base64
import io
import json
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xsam_backend.errors import PromptError
from xsam_backend.geometry.brush_rle import mask_to_brush_rle
from xsam_backend.geometry.raster import box_to_mask, ellipse_to_mask
from xsam_backend.labelstudio.regions import geometry_of, read_region, region_labels, region_texts
from xsam_backend.prompts import Box, MaskRegion, Point

SIZE_HW = (40, 60)


def region(kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "r1", "type": kind, "value": value, **more}


def png_url(pixels: np.ndarray, **saving: Any) -> str:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", **saving)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


SQUARE = box_to_mask(10, 5, 20, 15, SIZE_HW)
ALPHA = np.dstack([np.zeros((*SIZE_HW, 3), np.uint8), np.where(SQUARE, 255, 0).astype(np.uint8)])


@pytest.mark.parametrize(
    ("given_region", "mask", "reason"),
    [
        (
            region("polygonlabels", {"points": [[10, 10], [50, 10], [50, 60], [10, 60]]}),
            box_to_mask(6, 4, 24, 20, SIZE_HW),
            "per cent of width and of height",
        ),
        (
            region("ellipse", {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 30}),
            ellipse_to_mask(30, 20, 12, 4, SIZE_HW, 30),
            "radii in per cent of width and height, turned about the centre",
        ),
        (region("brushlabels", {"format": "rle", "rle": mask_to_brush_rle(SQUARE)}), SQUARE, "without original_*"),
        (
            region("brush", {"rle": mask_to_brush_rle(np.kron(SQUARE, np.ones((2, 2))) > 0)})
            | {"original_width": 120, "original_height": 80},
            SQUARE,
            "drawn on the picture at another size",
        ),
        (region("bitmasklabels", {"imageDataURL": png_url(ALPHA)}), SQUARE, "alpha alone counts"),
        (
            region("bitmask", {"imageDataURL": png_url(np.zeros((20, 30), np.uint8))}),
            np.ones(SIZE_HW, bool),
            "a PNG without alpha paints everything, as in the editor; other sizes are stretched",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_areas(given_region: dict[str, Any], mask: np.ndarray, reason: str) -> None:
    shape = read_region(given_region, SIZE_HW)
    assert isinstance(shape, MaskRegion)
    np.testing.assert_array_equal(shape.mask, mask, reason)
    assert shape.is_outline is given_region["type"].startswith(("polygon", "ellipse"))


def test_clicks_and_boxes_are_pixels_of_the_picture() -> None:
    assert read_region(region("keypoint", {"x": 50, "y": 25}), SIZE_HW) == Point(30, 10)
    assert read_region(region("keypoint", {"x": 50, "y": 25}, is_positive=False), SIZE_HW) == Point(30, 10, False)
    box = read_region(region("rectanglelabels", {"x": 10, "y": 50, "width": 50, "height": 25}), SIZE_HW)
    assert box == Box(6, 20, 30, 10)
    turned = read_region(region("rectangle", {"x": 50, "y": 0, "width": 10, "height": 50, "rotation": 390}), SIZE_HW)
    assert turned == Box(30, 0, 6, 20, 30)


@pytest.mark.parametrize(
    ("value", "expected", "reason"),
    [
        ({"x": -0.4, "y": 100.3}, Point(0, 40), "a rounded rim is moved onto it"),
        ({"x": 0, "y": 0}, Point(0, 0), "the corner itself"),
    ],
)
def test_clicks_on_the_rim(value: dict[str, float], expected: Point, reason: str) -> None:
    assert read_region(region("keypointlabels", value), SIZE_HW) == expected, reason


def test_box_is_cut_to_the_picture() -> None:
    box = read_region(region("rectangle", {"x": -10, "y": 50, "width": 30, "height": 90}), SIZE_HW)
    assert box == Box(0, 20, 12, 20)


SMALL_PNG = png_url(ALPHA)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (region("keypoint", {"x": math.nan, "y": 1}), "finite"),
        (region("keypoint", {"x": math.inf, "y": 1}), "finite"),
        (region("keypoint", {"x": "50", "y": 1}), "value.x.*'50'"),
        (region("keypoint", {"x": True, "y": 1}), "value.x"),
        (region("keypoint", {"y": 1}), "value.x.*None"),
        (region("keypoint", {"x": 150, "y": 1}), "0 to 100"),
        (region("keypoint", {"x": 5, "y": -30}), "0 to 100"),
        (region("rectangle", {"x": 1, "y": 1, "width": 0, "height": 5}), "area"),
        (region("rectangle", {"x": 1, "y": 1, "width": 5, "height": -5}), "area"),
        (region("rectangle", {"x": 120, "y": 1, "width": 5, "height": 5}), "outside"),
        (region("rectangle", {"x": 120, "y": 1, "width": 5, "height": 5, "rotation": 20}), "no pixel"),
        (region("rectangle", {"x": 1e9, "y": 1, "width": 5, "height": 5}), "per cent"),
        (region("rectangle", {"x": 1, "y": 1, "width": 5, "height": 5, "rotation": None}), "rotation"),
        (region("rectangle", {"x": 10**400, "y": 1, "width": 5, "height": 5}), "value.x is 1000.*per cent"),
        (region("polygon", {"points": [[1, 1], [2, 10**400], [3, 1]]}), "numbers"),
        (region("polygon", {"points": [[1, 1], [2, 2]]}), "three"),
        (region("polygon", {"points": [[1, 1], [2, "nan"], [3, 1]]}), "finite"),
        (region("polygon", {"points": [[1, 1], [2, "b"], [3, 1]]}), "numbers"),
        (region("polygon", {"points": [[[1, 1], [9, 1]], [[2, 2], [3, 3]], [[1, 4], [2, 2]]]}), "pairs"),
        (region("polygon", {"points": [[1, 1], [2], [3, 1]]}), "numbers"),
        (region("polygon", {"points": [[200, 1], [300, 1], [300, 50]]}), "no pixel"),
        (region("polygon", {}), "value.points"),
        (region("ellipse", {"x": 50, "y": 50, "radiusX": -3, "radiusY": 3}), "radii"),
        (region("ellipse", {"x": 50, "y": 50, "radiusX": 3}), "radiusY"),
        (region("brush", {"format": "rle", "rle": []}), "value.rle"),
        (region("brush", {"format": "png", "rle": [1]}), "format"),
        (region("brush", {"rle": mask_to_brush_rle(SQUARE[:20])}), "another size"),
        (region("brush", {"rle": mask_to_brush_rle(SQUARE)[:9]}), "cut off"),
        (region("brush", {"rle": mask_to_brush_rle(~SQUARE & SQUARE)}), "no pixel"),
        (region("brush", {"rle": [1]}, original_width=10**6, original_height=10**6), "larger than"),
        (region("brush", {"rle": [1]}, original_width="60", original_height=40), "whole numbers"),
        (region("bitmask", {"imageDataURL": "iVBORw0KGgo"}), "data:image/png"),
        (region("bitmask", {"imageDataURL": "data:image/png;base64,iVBORw0KGgo="}), "no readable PNG"),
        (region("bitmask", {"imageDataURL": "data:image/png;base64,%%%"}), "no readable PNG"),
        (region("bitmask", {"imageDataURL": SMALL_PNG[: len(SMALL_PNG) // 2]}), "no readable PNG"),
        (region("bitmask", {"imageDataURL": png_url(ALPHA * 0)}), "no pixel"),
        (region("sausage", {}), "'sausage'.*keypoint"),
        (region("choices", {"choices": ["a"]}), "'choices'"),
        ({"id": "r1", "value": {}}, "type None"),
        ({"id": "r1", "type": ["keypoint"], "value": {}}, "type"),
        ({"id": "r1", "type": "keypoint"}, "'value'"),
        ({"id": "r1", "type": "keypoint", "value": [1, 2]}, "'value'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_told_with_the_region(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(PromptError, match=words) as error:
        read_region(wrong, SIZE_HW)
    assert "region 'r1'" in str(error.value)


def test_a_long_panorama_drawn_at_another_size() -> None:
    """OpenCV's own nearest neighbour reads beyond such a mask."""
    drawn = np.zeros((2, 40_000), np.bool_)
    drawn[:, 10_000:20_000] = True
    found = read_region(
        region("brush", {"rle": mask_to_brush_rle(drawn)}, original_width=40_000, original_height=2), SIZE_HW
    )
    assert isinstance(found, MaskRegion)
    np.testing.assert_array_equal(found.mask, box_to_mask(15, 0, 15, 40, SIZE_HW))


@pytest.mark.parametrize("drawn_hw", [(1, 10_000_000), (10_000_000, 1)])
def test_a_hostile_size_takes_no_more_memory_than_its_own_pixels(drawn_hw: tuple[int, int]) -> None:
    rle = mask_to_brush_rle(np.ones(drawn_hw, np.bool_))
    tracemalloc.start()
    found = read_region(
        region("brush", {"rle": rle}, original_width=drawn_hw[1], original_height=drawn_hw[0]), SIZE_HW
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, MaskRegion)
    assert found.mask.all()
    assert peak < 40_000_000


def test_huge_png_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xsam_backend.labelstudio.regions.MAX_MASK_PX", 1000)
    with pytest.raises(PromptError, match="60 x 40 pixels is larger"):
        read_region(region("bitmask", {"imageDataURL": SMALL_PNG}), SIZE_HW)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KINDS = ["keypoint", "rectangle", "polygon", "ellipse", "brush", "bitmask", "textarea", "odd"]
KEYS = ["x", "y", "width", "height", "rotation", "points", "radiusX", "radiusY", "rle", "format", "imageDataURL"]


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_json_is_read_or_refused(kind: str, value: dict[str, Any]) -> None:
    try:
        shape = read_region(region(kind, value), SIZE_HW)
    except PromptError:
        return  # anything else would be a fault of ours
    assert isinstance(shape, Point | Box | MaskRegion)


@pytest.mark.parametrize(
    ("given_region", "labels"),
    [
        (region("keypointlabels", {"keypointlabels": ["cat"], "labels": ["cat"]}), ("cat",)),
        (region("labels", {"labels": ["a", "b"]}), ("a", "b")),
        (region("keypoint", {"x": 1}), ()),
        (region("polygonlabels", {"polygonlabels": []}), ()),
        (region("polygonlabels", {"polygonlabels": "cat"}), ()),
        (region("polygonlabels", {"polygonlabels": [3, "", "cat"]}), ("cat",)),
        ({"type": "polygonlabels"}, ()),
    ],
)
def test_labels(given_region: dict[str, Any], labels: tuple[str, ...]) -> None:
    assert region_labels(json.loads(json.dumps(given_region))) == labels


def test_texts() -> None:
    assert region_texts(region("textarea", {"text": ["a", "b"]})) == ("a", "b")
    assert region_texts(region("textarea", {"text": "a"})) == ("a",)
    for wrong in ({"text": 3}, {"text": [3]}, {}):
        with pytest.raises(PromptError, match="list of texts"):
            region_texts(region("textarea", wrong))


def test_geometry() -> None:
    assert [geometry_of({"type": kind}) for kind in ("PolygonLabels", "brush", None)] == ["polygon", "brush", ""]
