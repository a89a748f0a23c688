"""Which object shows the model what to look for: the exemplar of each class in a picture."""

from __future__ import annotations

import zlib

import numpy as np

from xsam_backend.ground_truth import GroundTruth

EXEMPLAR_RULE = "one exemplar per class in the picture, drawn at random among its objects (seeded per picture)"
"""Belongs beside every number that rests on it. X-SAM draws in the same way, without a seed."""


def exemplars(truth: GroundTruth, seed: int) -> tuple[int, ...]:
    """One segment for each class of things in the picture, in the order in which the classes first occur.

    The same picture (by its ``source``) and seed give the same exemplars, whatever else is evaluated. Crowds and
    stuff are none.
    """
    rng = np.random.default_rng([seed, zlib.crc32(truth.source.encode())])
    of_class: dict[str, list[int]] = {}
    for index, name in enumerate(truth.names):
        if truth.is_thing[index] and not truth.is_crowd[index]:
            of_class.setdefault(name, []).append(index)
    return tuple(int(rng.choice(indices)) for indices in of_class.values())
