"""Counts per label over pictures: what measures add up before they divide, kept small for any number of pictures."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray


class LabelCounts:
    """Some counts of every label in every picture. Most labels are not in a picture: nothing is kept of those.

    ``pictures`` are indices in the order of adding, repeats count again; None for all.
    """

    def __init__(self, labels: int, columns: int) -> None:
        self._labels, self._columns = labels, columns
        self._pictures, self._rows, self._values = array("i"), array("i"), array("d")
        self._count = 0

    def __len__(self) -> int:
        """How many pictures were added."""
        return self._count

    def add(self, counts: NDArray[np.float64] | NDArray[np.int64]) -> None:
        """One picture's (labels, columns)."""
        there = np.flatnonzero(counts.any(1))
        self._pictures.extend([self._count] * len(there))
        self._rows.extend(there.tolist())
        self._values.extend(counts[there].ravel().tolist())
        self._count += 1

    def total(self, pictures: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
        """float (labels, columns): the sums over the pictures."""
        values: NDArray[np.float64] = np.array(self._values).reshape(-1, self._columns)
        if pictures is not None:
            times = np.bincount(pictures, minlength=self._count)
            values = values * times[np.array(self._pictures, np.intp)][:, None]
        rows = np.array(self._rows, np.intp)
        total = np.zeros((self._labels, self._columns))
        for column in range(self._columns):
            total[:, column] = np.bincount(rows, weights=values[:, column], minlength=self._labels)
        return total
