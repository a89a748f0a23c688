"""Mask -> region -> mask, for each tag: what is lost, with the bound that ``docs/label-studio-cases.md`` states.

Regions are decoded as Label Studio does it, not by our own readers: brushes by its decoder, bitmasks by their alpha,
polygons filled by the browser's non-zero rule, everything from the rounded per cent that were sent.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray
from PIL import Image

from xsam_backend.geometry.collapsing import edges_cross
from xsam_backend.geometry.masks import Mask, mask_iou, mask_to_box_xyxy
from xsam_backend.geometry.raster import box_to_mask, ellipse_to_mask
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.results import write_regions
from xsam_backend.labelstudio.tags import ControlOptions, ControlTag

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)).filter(np.any)
"""Of 20 x 20 pixels no more than 100 parts can be made, which is as many as are written."""


def values_of(mask: Mask, tag: str, **options: Any) -> list[dict[str, Any]]:
    control = ControlTag("out", tag, tag.lower(), "image", options=ControlOptions(**options))
    found = Instances.of(mask[None], np.ones(1, np.float32), (None,))
    return [region["value"] for region in write_regions(found, control)]


def px(value: dict[str, Any], mask: Mask, *keys: str) -> list[float]:
    """Alternating x and y of a value, in pixels."""
    height, width = mask.shape
    return [value[key] * (width, height)[number % 2] / 100 for number, key in enumerate(keys)]


def rings_of(mask: Mask, **options: Any) -> list[NDArray[np.float64]]:
    scale = np.array(mask.shape[::-1]) / 100
    return [np.asarray(value["points"]) * scale for value in values_of(mask, "Polygon", **options)]


def painted(ring: NDArray[np.float64], size_hw: tuple[int, int]) -> Mask:
    """By the canvas's non-zero rule: how often the ring goes around each pixel's centre, added up edge by edge."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    turns = np.zeros(size_hw, np.int64)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        left = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)  # above 0 on one side of the edge
        turns += ((y0 <= y) & (y1 > y) & (left > 0)).astype(np.int64)
        turns -= ((y0 > y) & (y1 <= y) & (left < 0)).astype(np.int64)
    return turns != 0


def polygons(mask: Mask, **options: Any) -> Mask:
    return np.any([painted(ring, mask.shape) for ring in rings_of(mask, **options)], axis=0)


@settings(max_examples=300, deadline=None)
@given(MASKS)
def test_a_polygon_keeps_the_iou_of_its_option(mask: Mask) -> None:
    assert mask_iou(polygons(mask), mask) >= ControlOptions().polygon_iou == 0.98


@settings(max_examples=300, deadline=None)
@given(MASKS)
def test_a_polygon_as_it_is_written_crosses_itself_nowhere(mask: Mask) -> None:
    """Keyholes included: an edge may touch another, and run along it. That per cent are rounded may move what touches
    across by less than a thousandth of a pixel, which nothing shows."""
    for ring in rings_of(mask):
        assert not edges_cross([np.round(ring, 3)]), ring.tolist()


@settings(deadline=None)
@given(MASKS)
def test_an_exact_polygon_keeps_every_pixel(mask: Mask) -> None:
    np.testing.assert_array_equal(polygons(mask, polygon_iou=1.0), mask)


@settings(deadline=None)
@given(MASKS)
def test_a_brush_keeps_every_pixel(mask: Mask) -> None:
    (value,) = values_of(mask, "Brush")
    alpha = decode_rle(value["rle"]).reshape(*mask.shape, 4)[..., 3]
    np.testing.assert_array_equal(alpha, np.where(mask, 255, 0))


@given(MASKS)
def test_a_bitmask_keeps_every_pixel(mask: Mask) -> None:
    (value,) = values_of(mask, "Bitmask")
    with Image.open(io.BytesIO(base64.b64decode(value["imageDataURL"].partition(",")[2]))) as png:
        np.testing.assert_array_equal(np.asarray(png.getchannel("A")), np.where(mask, 255, 0))


@given(MASKS)
def test_a_rectangle_is_the_box_around_every_pixel(mask: Mask) -> None:
    (value,) = values_of(mask, "Rectangle")
    box = mask_to_box_xyxy(mask)
    assert box is not None
    expected = np.zeros_like(mask)
    expected[box[1] : box[3], box[0] : box[2]] = True
    assert value["rotation"] == 0
    np.testing.assert_array_equal(box_to_mask(*px(value, mask, "x", "y", "width", "height"), mask.shape), expected)


@given(MASKS)
def test_a_turned_rectangle_holds_every_pixel_and_is_no_larger_than_the_straight_one(mask: Mask) -> None:
    (value,) = values_of(mask, "Rectangle", rotated=True)
    x, y, width, height = px(value, mask, "x", "y", "width", "height")
    assert not (mask & ~box_to_mask(x, y, width, height, mask.shape, value["rotation"])).any()
    box = mask_to_box_xyxy(mask)
    assert box is not None
    assert width * height <= (box[2] - box[0]) * (box[3] - box[1]) + 1e-2


@given(MASKS)
def test_an_ellipse_has_the_masks_centre_and_spread(mask: Mask) -> None:
    mask = np.pad(mask, max(mask.shape))  # so that no radius is cut down to half the picture
    (value,) = values_of(mask, "Ellipse")
    x, y, radius_x, radius_y = px(value, mask, "x", "y", "radiusX", "radiusY")
    rows, columns = np.nonzero(mask)
    np.testing.assert_allclose([x, y], [columns.mean() + 0.5, rows.mean() + 0.5], atol=1e-4)
    turn = np.deg2rad(value["rotation"])
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    spread = np.cov(np.stack([columns, rows]), bias=True) + np.eye(2) / 12
    np.testing.assert_allclose(axes @ np.diag([radius_x**2, radius_y**2]) / 4 @ axes.T, spread, atol=1e-3)


@given(st.floats(5, 15), st.floats(5, 15), st.floats(0, 179))
def test_an_ellipse_gives_back_what_is_one(radius_x: float, radius_y: float, rotation: float) -> None:
    mask = ellipse_to_mask(24, 20, radius_x, radius_y, (40, 48), rotation)
    (value,) = values_of(mask, "Ellipse")
    sizes = px(value, mask, "x", "y", "radiusX", "radiusY")
    assert mask_iou(ellipse_to_mask(*sizes, mask.shape, value["rotation"]), mask) >= 0.9


@given(MASKS)
def test_a_keypoint_is_as_deep_inside_as_can_be(mask: Mask) -> None:
    (value,) = values_of(mask, "KeyPoint")
    x, y = px(value, mask, "x", "y")
    assert mask[int(y), int(x)]
    framed = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    assert framed[int(y), int(x)] >= framed.max() - 1e-3
