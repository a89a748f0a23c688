from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.converter import brush as sdk
from PIL import Image
from pycocotools import mask as coco
from shapes import TRICKY, blobs, masks

from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.rle import (
    brush_rle_to_mask,
    coco_rle_area,
    coco_rle_to_mask,
    mask_to_brush_rle,
    mask_to_coco_rle,
)

VECTORS = sorted((Path(__file__).parents[1] / "recorded/label_studio/brush_rle").glob("*.json"))


def test_example_of_the_docstring() -> None:
    assert mask_to_brush_rle(np.zeros((1, 2), bool)) == [0, 0, 0, 8, 57, 27, 252, 224, 0]


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_recorded_vector_decodes_to_its_picture(path: Path) -> None:
    vector = json.loads(path.read_text())
    with Image.open(path.with_suffix(".png")) as picture:
        expected = np.asarray(picture.convert("L")) >= 128
    size_hw = vector["height"], vector["width"]
    np.testing.assert_array_equal(brush_rle_to_mask(vector["rle"], size_hw), expected)
    np.testing.assert_array_equal(brush_rle_to_mask(mask_to_brush_rle(expected), size_hw), expected)
    np.testing.assert_array_equal(sdk.decode_rle(vector["rle"])[3::4].reshape(size_hw) >= 128, expected)


def test_all_four_vectors_are_there() -> None:
    assert len(VECTORS) == 4


@pytest.mark.parametrize("name", TRICKY)
def test_tricky_masks_survive(name: str) -> None:
    mask = TRICKY[name]
    np.testing.assert_array_equal(brush_rle_to_mask(mask_to_brush_rle(mask), mask.shape), mask)
    for compressed in (True, False):
        np.testing.assert_array_equal(coco_rle_to_mask(mask_to_coco_rle(mask, compressed)), mask)


@given(masks(), st.booleans())
def test_area_without_painting(mask: Mask, compressed: bool) -> None:
    assert coco_rle_area(mask_to_coco_rle(mask, compressed)) == mask.sum()


def test_area_of_a_damaged_one() -> None:
    with pytest.raises(ValueError, match="damaged"):
        coco_rle_area({"size": [2, 2], "counts": [1, 1]})


@given(masks())
def test_any_mask_survives_brush_rle(mask: Mask) -> None:
    np.testing.assert_array_equal(brush_rle_to_mask(mask_to_brush_rle(mask), mask.shape), mask)


@given(masks(max_side=12))
def test_sdk_decodes_ours_to_0_and_255_four_times(mask: Mask) -> None:
    decoded = sdk.decode_rle(mask_to_brush_rle(mask))
    np.testing.assert_array_equal(decoded, np.repeat(np.where(mask, 255, 0), 4))


@given(masks(max_side=12))
def test_we_decode_what_the_sdk_encodes(mask: Mask) -> None:
    encoded = sdk.encode_rle(np.repeat(np.where(mask, 255, 0), 4).astype(np.uint8))
    np.testing.assert_array_equal(brush_rle_to_mask(encoded, mask.shape), mask)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(1, 40)), min_size=1, max_size=12), st.integers(0, 255))
def test_any_rgba_counts_by_alpha_alone(pixels: list[tuple[int, int]], colour: int) -> None:
    alpha = np.repeat([value for value, _ in pixels], [count for _, count in pixels]).astype(np.uint8)
    rgba = np.stack([np.full_like(alpha, colour)] * 3 + [alpha], axis=1).ravel()
    mask = brush_rle_to_mask(sdk.encode_rle(rgba), (1, len(alpha)))
    np.testing.assert_array_equal(mask[0], alpha >= 128)


def test_runs_longer_than_a_field_are_split() -> None:
    # 4 x 300 x 200 values of one kind are four runs of at most 65536.
    mask = np.ones((300, 200), bool)
    encoded = mask_to_brush_rle(mask)
    assert len(encoded) < 30
    np.testing.assert_array_equal(sdk.decode_rle(encoded), np.full(mask.size * 4, 255))


@pytest.mark.parametrize("length", [16384, 16385, 32768])
def test_runs_of_just_the_field_size(length: int) -> None:
    mask = np.ones((1, length), bool)
    np.testing.assert_array_equal(brush_rle_to_mask(mask_to_brush_rle(mask), mask.shape), mask)


def test_output_is_plain_json_bytes() -> None:
    encoded = mask_to_brush_rle(blobs((40, 50), 1))
    assert all(type(byte) is int and 0 <= byte <= 255 for byte in encoded)
    assert json.loads(json.dumps(mask_to_coco_rle(blobs((40, 50), 1), False)))["size"] == [40, 50]


ENCODED = mask_to_brush_rle(TRICKY["a hole"])


@pytest.mark.parametrize(
    ("encoded", "size_hw", "words"),
    [
        (ENCODED, (5, 4), None),
        (ENCODED, (4, 4), "another size"),
        (ENCODED[:-4], (4, 5), "cut off"),
        (ENCODED[:5], (4, 5), "cut off"),
        ([], (4, 5), "cut off"),
        ([*ENCODED[:6], 256], (4, 5), "0..255"),
        (["a"], (4, 5), "0..255"),
        ([255, 255, 255, 255, 57, 27, 0], (4, 5), "4294967295 values"),
    ],
    ids=["turned", "other size", "cut short", "only a head", "empty", "no byte", "text", "asks for four gigabytes"],
)
def test_damaged_brush_rle_is_refused(encoded: list[int], size_hw: tuple[int, int], words: str | None) -> None:
    if words is None:  # the same number of pixels: nothing in the stream tells, so the caller's size decides
        assert brush_rle_to_mask(encoded, size_hw).shape == size_hw
        return
    with pytest.raises(ValueError, match=words):
        brush_rle_to_mask(encoded, size_hw)


@given(masks())
def test_coco_rle_agrees_with_pycocotools(mask: Mask) -> None:
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert mask_to_coco_rle(mask) == {"size": list(mask.shape), "counts": theirs["counts"].decode()}
    np.testing.assert_array_equal(coco_rle_to_mask(theirs), mask)
    np.testing.assert_array_equal(coco_rle_to_mask(mask_to_coco_rle(mask, compressed=False)), mask)


def test_large_counts_agree_with_pycocotools() -> None:
    mask = blobs((700, 900), 5)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert mask_to_coco_rle(mask)["counts"] == theirs["counts"].decode()
    np.testing.assert_array_equal(coco_rle_to_mask(theirs), mask)


@pytest.mark.parametrize(
    ("coco_rle", "words"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "add up to 3"),
        ({"size": [2, 2], "counts": [5, -1]}, "add up"),
        ({"size": [2], "counts": [2]}, "size"),
        ({"size": [2, "2"], "counts": [4]}, "size"),
        ({"counts": [4]}, "size"),
        ({"size": [2, 2]}, "counts"),
        ({"size": [2, 2], "counts": ""}, "damaged"),
        ({"size": [2, 2], "counts": "\u20ac"}, "add up|damaged"),
        ({"size": [2, 2], "counts": "P" * 30}, "damaged"),
        ({"size": [2, 2], "counts": "P" * 30 + "0"}, "larger than any picture"),
    ],
)
def test_damaged_coco_rle_is_refused(coco_rle: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        coco_rle_to_mask(coco_rle)
