"""What a picture's truth refuses to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xsam_backend.ground_truth import GroundTruth

GOOD: dict[str, Any] = {
    "image": np.zeros((4, 6, 3), np.uint8),
    "masks": np.ones((2, 4, 6), np.bool_),
    "names": ("cat", "dog"),
    "is_thing": np.ones(2, np.bool_),
    "is_crowd": np.zeros(2, np.bool_),
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": np.zeros((4, 6), np.uint8)}, r"image: expected uint8 \(H, W, 3\)"),
        ({"masks": np.ones((2, 6, 4), np.bool_)}, r"masks: expected bool \(2, 4, 6\)"),
        ({"masks": np.ones((2, 4, 6), np.uint8)}, "masks: expected bool"),
        ({"is_crowd": np.zeros(3, np.bool_)}, r"expected \(2,\) each"),
        ({"looks": ("red",)}, "looks: expected 2 or none, got 1"),
        ({"ignored": np.zeros((6, 4), np.bool_)}, r"ignored: expected bool \(4, 6\), got bool \(6, 4\)"),
        ({"ignored": np.zeros((4, 6), np.uint8)}, "ignored: expected bool"),
    ],
)
def test_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GroundTruth(**{**GOOD, **wrong})


def test_union() -> None:
    truth = GroundTruth(**{**GOOD, "masks": np.stack([np.eye(4, 6, dtype=bool), np.eye(4, 6, 1, dtype=bool)])})
    assert truth.union((0, 1)).sum() == 8
    assert truth.union((1,)).sum() == 4
    assert not truth.union(()).any()
