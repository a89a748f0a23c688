"""Which object shows the model what to look for: the exemplar of each class in a picture."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Literal

import numpy as np

from xsam_backend.ground_truth import GroundTruth

ExemplarRule = Literal["random", "median"]

RULES: Mapping[ExemplarRule, str] = {
    "random": "one exemplar per class in the picture, drawn at random among its objects (seeded per picture)",
    "median": "one exemplar per class in the picture, the object of median area",
}
"""Belong beside every number that rests on them. X-SAM draws at random, without a seed."""


def exemplars(truth: GroundTruth, seed: int, rule: ExemplarRule = "random") -> tuple[int, ...]:
    """One segment for each class of things in the picture, in the order in which the classes first occur.

    The same picture (by its ``source``) and seed give the same exemplars, whatever else is evaluated. Crowds and
    stuff are none. Of an even number of objects, the smaller one in the middle is the median.
    """
    rng = np.random.default_rng([seed, zlib.crc32(truth.source.encode())])
    of_class: dict[str, list[int]] = {}
    for index, name in enumerate(truth.names):
        if truth.is_thing[index] and not truth.is_crowd[index]:
            of_class.setdefault(name, []).append(index)
    if rule == "median":
        areas = truth.masks.sum((1, 2))
        by_area = [sorted(indices, key=lambda index: int(areas[index])) for indices in of_class.values()]
        return tuple(indices[(len(indices) - 1) // 2] for indices in by_area)
    return tuple(int(rng.choice(indices)) for indices in of_class.values())
