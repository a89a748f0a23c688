"""How far a measure would move with other pictures: percentile intervals by bootstrap (Efron, Tibshirani 1993, 13).

Whole pictures are drawn, with replacement, because the objects and phrases of one picture rise and fall together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
"""Of the intervals: so often they hold what other pictures of the same kind would give."""

Statistic = Callable[[NDArray[np.intp]], float]
"""From indices of pictures, repeats count again, to a number; nan where those pictures have none."""


@dataclass(frozen=True)
class Estimate:
    """A measure's value on the pictures as they are, and the interval around it; nan where there is none."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Statistic, pictures: int, *, seed: int = 0, rounds: int = 1000, confidence: float = CONFIDENCE
) -> Estimate:
    """The statistic of all ``pictures`` and its percentile interval over ``rounds`` draws.

    Draws for which the statistic is undefined are left out. Of a single picture there is no interval.
    """
    (estimate,) = bootstraps(
        lambda drawn: (statistic(drawn),), pictures, 1, seed=seed, rounds=rounds, confidence=confidence
    )
    return estimate


def bootstraps(
    statistics: Callable[[NDArray[np.intp]], Sequence[float]],
    pictures: int,
    count: int,
    *,
    seed: int = 0,
    rounds: int = 1000,
    confidence: float = CONFIDENCE,
) -> list[Estimate]:
    """``bootstrap`` of ``count`` statistics that are cheaper together; the same seed draws the same pictures."""
    rng = np.random.default_rng(seed)
    values = statistics(np.arange(pictures)) if pictures else (float("nan"),) * count
    draws = rounds if pictures > 1 else 0
    drawn = np.array([statistics(rng.integers(pictures, size=pictures)) for _ in range(draws)], np.float64)
    return [_estimate(float(values[i]), drawn.reshape(draws, count)[:, i], confidence) for i in range(count)]


def _estimate(value: float, drawn: NDArray[np.float64], confidence: float) -> Estimate:
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return Estimate(value, float("nan"), float("nan"))
    outside_pct = 50 * (1 - confidence)
    low, high = np.percentile(defined, [outside_pct, 100 - outside_pct])
    return Estimate(value, float(low), float(high))
