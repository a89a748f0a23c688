"""Measures that are one sum over another, kept as two numbers per picture: means, cIoU, shares, clicks."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.bootstrap import Estimate, Statistic, bootstrap
from xsam_backend.evaluation.overlaps import Overlap

Sums = dict[str, tuple[float, float]]
"""Of one picture: measure -> (what was reached, what could be reached)."""


class _Entries:
    """One measure's sums, of those pictures that have some."""

    def __init__(self) -> None:
        self.pictures, self.reached, self.possible = array("i"), array("d"), array("d")

    def add(self, picture: int, reached: float, possible: float) -> None:
        self.pictures.append(picture)
        self.reached.append(reached)
        self.possible.append(possible)


class Ratios:
    """Sums by name over pictures that are added one by one; a picture without a name's entry adds nothing to it."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entries] = {}
        self._pictures = 0

    def __len__(self) -> int:
        return self._pictures

    def add(self, sums: Mapping[str, tuple[float, float]]) -> None:
        """Adds one picture."""
        for name, (reached, possible) in sums.items():
            self._entries.setdefault(name, _Entries()).add(self._pictures, reached, possible)
        self._pictures += 1

    def possible(self, name: str) -> float:
        """The lower sum over all pictures: of a mean, how many it is over."""
        return sum(self._entries.get(name, _Entries()).possible)

    def statistic(self, name: str) -> Statistic:
        """From pictures to the ratio; nan where nothing is possible."""
        sums = np.zeros((2, self._pictures))
        own = self._entries.get(name, _Entries())
        sums[:, np.array(own.pictures, np.intp)] = own.reached, own.possible

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
