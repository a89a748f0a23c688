"""The median size of each label's things, over pictures of any size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from xsam_backend.ground_truth import GroundTruth
from xsam_backend.learning.object_sizes import MOST_PICTURES, typical_sizes


@dataclass
class Picture:
    """Things of these labels and longer sides in a picture of that size; sky all over it, a crowd of cells."""

    size_hw: tuple[int, int]
    things: Sequence[tuple[str, int]]
    loaded: int = 0

    def load(self) -> GroundTruth:
        self.loaded += 1
        masks = np.zeros((len(self.things) + 2, *self.size_hw), bool)
        for mask, (_, side) in zip(masks, self.things, strict=False):
            mask[3 : 3 + side // 2, 5 : 5 + side] = True
        masks[-2:] = True
        kinds = np.ones(len(masks), bool)
        kinds[-1] = False
        crowd = np.zeros(len(masks), bool)
        crowd[-2] = True
        names = (*(name for name, _ in self.things), "cell", "sky")
        return GroundTruth(np.zeros((*self.size_hw, 3), np.uint8), masks, names, kinds, crowd)


def test_the_median_of_shares() -> None:
    pictures = [
        Picture((100, 200), [("cell", 10), ("cell", 20), ("house", 100)]),
        Picture((400, 300), [("cell", 200)]),
    ]
    assert typical_sizes(pictures) == pytest.approx({"cell": 0.1, "house": 0.5})


def test_nothing_is_known_of_nothing() -> None:
    assert typical_sizes([]) == {}
    assert typical_sizes([Picture((10, 10), [])]) == {}


def test_of_many_pictures_some_are_looked_at() -> None:
    pictures = [Picture((50, 50), [("cell", 10)]) for _ in range(2 * MOST_PICTURES + 7)]
    assert typical_sizes(pictures) == {"cell": 0.2}
    assert sum(picture.loaded for picture in pictures) == MOST_PICTURES
    assert pictures[-3].loaded + pictures[-2].loaded + pictures[-1].loaded
