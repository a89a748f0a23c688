"""Measures that are one sum over another, kept as two numbers per picture: means, cIoU, shares, clicks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.bootstrap import Estimate, Statistic, bootstrap
from xsam_backend.evaluation.overlaps import Overlap

Sums = dict[str, tuple[float, float]]
"""Of one picture: measure -> (what was reached, what could be reached)."""


class Ratios:
    """Sums by name over pictures that are added one by one; a picture without a name's entry adds nothing to it."""

    def __init__(self) -> None:
        self._entries: dict[str, list[tuple[int, float, float]]] = {}
        self._pictures = 0

    def __len__(self) -> int:
        return self._pictures

    def add(self, sums: Mapping[str, tuple[float, float]]) -> None:
        """Adds one picture."""
        for name, (reached, possible) in sums.items():
            self._entries.setdefault(name, []).append((self._pictures, reached, possible))
        self._pictures += 1

    def possible(self, name: str) -> float:
        """The lower sum over all pictures: of a mean, how many it is over."""
        return sum(possible for *_, possible in self._entries.get(name, ()))

    def statistic(self, name: str) -> Statistic:
        """From pictures to the ratio; nan where nothing is possible."""
        sums = np.zeros((2, self._pictures))
        for picture, reached, possible in self._entries.get(name, ()):
            sums[:, picture] += reached, possible

        def ratio(pictures: NDArray[np.intp]) -> float:
            reached, possible = sums[:, pictures].sum(1)
            return float(reached / possible) if possible else float("nan")

        return ratio

    def estimate(self, name: str, *, seed: int, rounds: int) -> Estimate:
        """The ratio over all pictures with its interval."""
        return bootstrap(self.statistic(name), self._pictures, seed=seed, rounds=rounds)


def mean_of(values: Iterable[float]) -> tuple[float, float]:
    """What one picture's values add to their mean over all pictures."""
    listed = list(values)
    return float(sum(listed)), float(len(listed))


def g_iou_of(overlaps: Iterable[Overlap]) -> tuple[float, float]:
    """To ``overlaps.g_iou`` of all pictures."""
    return mean_of(overlap.iou for overlap in overlaps)


def c_iou_of(overlaps: Iterable[Overlap]) -> tuple[float, float]:
    """To ``overlaps.c_iou`` of all pictures."""
    listed = list(overlaps)
    return float(sum(one.intersection_px for one in listed)), float(sum(one.union_px for one in listed))
