from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco
from shapes import TRICKY, blobs, masks

from xsam_backend.geometry.coco_rle import coco_rle_area, coco_rle_to_mask, mask_to_coco_rle
from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.runs import mask_to_runs


def as_list(mask: Mask) -> dict[str, object]:
    """A COCO RLE as other tools write it, too: not packed."""
    return {"size": list(mask.shape), "counts": mask_to_runs(mask, by_columns=True).tolist()}


@pytest.mark.parametrize("write", [mask_to_coco_rle, as_list])
@pytest.mark.parametrize("name", TRICKY)
def test_tricky_masks_survive(name: str, write: Callable[[Mask], dict[str, object]]) -> None:
    mask = TRICKY[name]
    np.testing.assert_array_equal(coco_rle_to_mask(write(mask)), mask)


def test_it_is_plain_json() -> None:
    assert json.loads(json.dumps(mask_to_coco_rle(blobs((40, 50), 1))))["size"] == [40, 50]


@given(masks(), st.sampled_from([mask_to_coco_rle, as_list]))
def test_area_without_painting(mask: Mask, write: Callable[[Mask], dict[str, object]]) -> None:
    assert coco_rle_area(write(mask)) == mask.sum()


def test_area_of_a_damaged_one() -> None:
    with pytest.raises(ValueError, match="damaged"):
        coco_rle_area({"size": [2, 2], "counts": [1, 1]})


@given(masks())
def test_coco_rle_agrees_with_pycocotools(mask: Mask) -> None:
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert mask_to_coco_rle(mask) == {"size": list(mask.shape), "counts": theirs["counts"].decode()}
    np.testing.assert_array_equal(coco_rle_to_mask(theirs), mask)
    np.testing.assert_array_equal(coco_rle_to_mask(as_list(mask)), mask)


def test_large_counts_agree_with_pycocotools() -> None:
    mask = blobs((700, 900), 5)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert mask_to_coco_rle(mask)["counts"] == theirs["counts"].decode()
    np.testing.assert_array_equal(coco_rle_to_mask(theirs), mask)


@pytest.mark.parametrize(
    ("coco_rle", "words"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "add up to 3"),
        ({"size": [2, 2], "counts": [5, -1]}, "whole numbers"),
        ({"size": [2, 2], "counts": [None, 4]}, "whole numbers"),
        ({"size": [2], "counts": [2]}, "size"),
        ({"size": [2, "2"], "counts": [4]}, "size"),
        ({"counts": [4]}, "size"),
        ({"size": [True, 4], "counts": [4]}, "size"),
        ({"size": [2**31, 2**31], "counts": [4]}, "size"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "at most"),
        ({"size": [2, 2], "counts": [1.9, 2.1]}, "whole numbers"),
        ({"size": [2, 2], "counts": ["1", "3"]}, "whole numbers"),
        ({"size": [2, 2], "counts": [2**62] * 4}, "whole numbers"),
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
