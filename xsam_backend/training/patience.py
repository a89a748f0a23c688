"""When a stage has learned what it can: its loss, smoothed, doesn't fall any more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SMOOTHING_STEPS = 50
"""A step's loss depends on its few pictures: what counts is a running mean over about so many."""

LEAST_FALL = 0.01
"""Share by which the mean must fall below the lowest before, to count as a fall."""


class Patience:
    """Follows one stage's loss.

    Args:
        steps: so many steps without a fall end the stage; 0: nothing does.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._mean = math.nan
        self._lowest = math.inf
        self._waited = 0

    def is_over(self, loss: float) -> bool:
        """Whether the stage should end after this step. Losses that aren't finite don't count."""
        if not self._steps or not math.isfinite(loss):
            return False
        self._mean = loss if math.isnan(self._mean) else self._mean + (loss - self._mean) / SMOOTHING_STEPS
        if self._mean < self._lowest * (1 - LEAST_FALL):
            self._lowest, self._waited = self._mean, 0
        else:
            self._waited += 1
        return self._waited >= self._steps

    def as_json(self) -> dict[str, Any]:
        """For a state; ``restore`` reads it."""
        known = {"mean": self._mean, "lowest": self._lowest}
        return {"waited": self._waited} | {name: value for name, value in known.items() if math.isfinite(value)}

    def restore(self, read: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._mean = float(read.get("mean", math.nan))
        self._lowest = float(read.get("lowest", math.inf))
        self._waited = int(read.get("waited", 0))
