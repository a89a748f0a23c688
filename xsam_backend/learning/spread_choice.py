"""A few of many: those that count most and are unlike each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 256
"""Centres whose distances are computed together: 100 MB for 50,000 vectors."""

_ROUNDING = 1e-9
"""Squared distances below it are none."""


def spread_choice(
    weights: NDArray[np.float64], vectors: NDArray[np.float32], taken: NDArray[np.float32], count: int
) -> list[int]:
    """Indices of ``count`` of N, or of all if there are fewer, the most wanted first.

    Weighted farthest-first traversal: each time the one whose distance to the nearest that is taken, times its
    weight, is largest; of equal ones the heavier one, then the first. (Dyer and Frieze, A simple heuristic for the
    p-centre problem, 1985. Without weights it is the k-center greedy of Sener and Savarese, arXiv 1708.00489, who
    choose by it what to label.) So of alike ones the heaviest comes first, and a doubled one last.

    Args:
        weights: (N,), above 0.
        vectors: (N, D).
        taken: (M, D), what counts as chosen before. Without any, the heaviest is the first.
    """
    if not len(vectors):
        return []
    distances = _to_nearest(vectors, taken) if len(taken) else np.ones(len(vectors))
    chosen: list[int] = []
    left = np.ones(len(vectors), np.bool_)
    while len(chosen) < min(count, len(vectors)):
        gains = np.where(left, weights * distances, -1.0)
        best = np.flatnonzero(gains == gains.max())
        index = int(best[np.argmax(weights[best])])
        nearest = _to_nearest(vectors, vectors[index : index + 1])
        distances = np.minimum(distances, nearest) if chosen or len(taken) else nearest
        left[index] = False
        chosen.append(index)
    return chosen


def _to_nearest(vectors: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of each of (N, D) to the nearest of (M, D): (N,); exactly 0 between equal ones."""
    ours, nearest = vectors.astype(np.float64), np.full(len(vectors), np.inf)
    lengths = np.square(ours).sum(1)
    for start in range(0, len(centres), _AT_ONCE):
        theirs = centres[start : start + _AT_ONCE].astype(np.float64)
        squares = lengths[:, None] + np.square(theirs).sum(1) - 2 * ours @ theirs.T
        nearest = np.minimum(nearest, squares.min(1))
    distances: NDArray[np.float64] = np.sqrt(np.where(nearest > _ROUNDING, nearest, 0.0))
    return distances
