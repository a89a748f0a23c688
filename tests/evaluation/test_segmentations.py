"""Outlines by COCO's rule, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import SIZE_HW, SQUARE, block, rle
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from xsam_backend.evaluation.datasets.segmentations import segmentation_as_coco
from xsam_backend.geometry.coco_rle import coco_rle_to_mask

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "photos" / "instances.json"


def theirs(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    return coco_rle_to_mask(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-5, 45, width=32), st.floats(-5, 35, width=32)), min_size=3, max_size=8),
        min_size=1,
        max_size=3,
    )
)
def test_any_polygons_are_filled_as_pycocotools_fills_them(rings: list[list[tuple[float, float]]]) -> None:
    polygons = [[value for point in ring for value in point] for ring in rings]
    np.testing.assert_array_equal(segmentation_as_coco(polygons, (30, 40)), theirs(polygons, 30, 40))


def test_real_polygons_are_filled_as_pycocotools_fills_them() -> None:
    if not PHOTOS.exists():
        pytest.skip("needs ../shared/data/photos beside the repository")
    content = json.loads(PHOTOS.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    polygons = [a for a in content["annotations"] if isinstance(a["segmentation"], list)][::23]
    for annotation in polygons:
        size_hw = sizes[annotation["image_id"]]
        ours = segmentation_as_coco(annotation["segmentation"], size_hw)
        np.testing.assert_array_equal(ours, theirs(annotation["segmentation"], *size_hw))
    assert len(polygons) > 50


@pytest.mark.parametrize(
    ("segmentation", "area", "reason"),
    [
        (SQUARE, 16, "polygon"),
        (rle(block(slice(1, 4), slice(5, 9))), 12, "compressed RLE"),
        ({"size": [8, 10], "counts": [40, 8, 32]}, 8, "counts as a list"),
        ([rle(block(slice(0, 1), slice(0, 3))), rle(block(slice(0, 2), slice(0, 1)))], 4, "several RLEs are united"),
        ([[1.0, 1.0, 3.0, 3.0], SQUARE[0]], 16, "a polygon of two points is passed over"),
        ([[20.0, 20.0, 30.0, 20.0, 30.0, 30.0]], 0, "a polygon outside the picture covers nothing"),
    ],
)
def test_every_kind_of_segmentation(segmentation: Any, area: int, reason: str) -> None:
    assert segmentation_as_coco(segmentation, SIZE_HW).sum() == area, reason


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1.0, 2.0, 3.0, 4.0]], "at least 6 values"),
        ([], "at least 6 values"),
        ([[1.0, float("nan"), 3.0, 4.0, 5.0, 6.0]], "finite coordinates"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, 1e12]], "finite coordinates"),
        ([["a", "b", "c", "d", "e", "f"]], "lists of numbers"),
        ([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]], "flat polygons"),
        ("polygon", "expected polygons or an RLE, got str"),
        ({"size": [4, 4], "counts": [16]}, r"expected size \(8, 10\), got \(4, 4\)"),
        ({"size": [8, 10], "counts": [40, 8]}, "damaged"),
        ({"counts": [80]}, r"expected size \[H, W\]"),
        ([{"size": [8, 10], "counts": [1]}], "damaged"),
    ],
)
def test_refused(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segmentation_as_coco(segmentation, SIZE_HW)
