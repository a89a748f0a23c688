"""One object per class shows what to look for: which, and that it's the same again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from xsam_backend.evaluation.exemplars import exemplars
from xsam_backend.ground_truth import GroundTruth

NAMES = ("dog", "cat", "dog", "dog", "sky", "dog", "bird")
THINGS = np.array([True, True, True, True, False, True, True])
CROWDS = np.array([False, False, False, False, False, True, True])
TRUTH = GroundTruth(
    np.zeros((2, 2, 3), np.uint8), np.ones((7, 2, 2), np.bool_), NAMES, THINGS, CROWDS, source="a.jpg"
)


def test_one_per_class_without_crowds_and_stuff() -> None:
    drawn = [exemplars(TRUTH, seed) for seed in range(60)]
    assert {cat for _, cat in drawn} == {1}
    dogs = [dog for dog, _ in drawn]
    assert set(dogs) == {0, 2, 3}, "every dog but the crowd"
    assert min(dogs.count(dog) for dog in (0, 2, 3)) >= 10, "about a third each"


def test_the_same_again_and_other_pictures_apart() -> None:
    assert exemplars(TRUTH, 7) == exemplars(dataclasses.replace(TRUTH, complete_for=frozenset(["dog"])), 7)
    others = [exemplars(dataclasses.replace(TRUTH, source=f"{i}.jpg"), 7) for i in range(30)]
    assert len(set(others)) == 3


def test_nothing_there() -> None:
    none = GroundTruth(
        np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2, 2), bool), (), np.zeros(0, bool), np.zeros(0, bool)
    )
    assert exemplars(none, 0) == ()


@pytest.mark.parametrize(
    ("widths", "chosen"),
    [
        pytest.param((3, 1, 2), 2, id="the one in the middle"),
        pytest.param((4, 1, 2, 3), 2, id="of two in the middle the smaller one"),
        pytest.param((5,), 0, id="the only one"),
    ],
)
def test_the_one_of_median_area(widths: tuple[int, ...], chosen: int) -> None:
    masks = np.zeros((len(widths), 1, 8), bool)
    for mask, width in zip(masks, widths, strict=True):
        mask[0, :width] = True
    flags = np.zeros(len(widths), bool)
    truth = GroundTruth(np.zeros((1, 8, 3), np.uint8), masks, ("cell",) * len(widths), ~flags, flags)
    assert exemplars(truth, 0, "median") == exemplars(truth, 1, "median") == (chosen,)
