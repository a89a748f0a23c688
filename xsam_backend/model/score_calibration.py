"""Scores that mean something: of detections with the score 0.7, seven of ten should be right.

Platt's scaling (in: Advances in Large Margin Classifiers, 1999) of a score's log odds, fitted on held-out pictures. A
prior holds it near the scores as they are, or near an earlier calibration, so that a handful of detections changes
little. It never turns the order of two scores round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

_LEAST = 1e-4
"""Scores this near to 0 and 1 count as no nearer: their log odds are finite."""

PRIOR = 4.0
"""As strong as the evidence of so many detections, roughly."""


@dataclass(frozen=True)
class Calibration:
    """``slope`` (0 or more) and ``offset`` on log odds; 1 and 0 leave scores as they are."""

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores 0..1, float32 (N,), to what they mean: float32 (N,), in 0..1, in the same order."""
        odds = logit(np.clip(scores.astype(np.float64), _LEAST, 1 - _LEAST))
        meant: NDArray[np.float32] = expit(self.slope * odds + self.offset).astype(np.float32)
        return meant

    def least_score(self, meant: float) -> float:
        """The least score that comes out as ``meant``, 0..1, or more; above 1 if none does.

        >>> Calibration(slope=1.0, offset=-1.0).least_score(0.5) > 0.7
        True
        """
        lowest, highest = (float(self(np.array([end], np.float32))[0]) for end in (0.0, 1.0))
        if meant <= lowest:
            return 0.0
        if meant > highest:
            return float("inf")
        return float(expit((logit(meant) - self.offset) / self.slope))


AS_IT_IS = Calibration()


def fit_calibration(
    scores: NDArray[np.float64], right: NDArray[np.bool_], near: Calibration = AS_IT_IS
) -> Calibration:
    """From held-out detections' scores, (N,), and whether each was right, bool (N,).

    Args:
        near: what holds without evidence.

    >>> fit_calibration(np.array([]), np.array([], bool))
    Calibration(slope=1.0, offset=0.0)
    """
    if not len(scores):
        return near
    odds = logit(np.clip(np.asarray(scores, np.float64), _LEAST, 1 - _LEAST))
    truth = np.asarray(right, np.float64)

    def cost(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, offset = values
        said = slope * odds + offset
        entropy = float(np.sum(np.logaddexp(0.0, said) - truth * said))
        off = expit(said) - truth
        from_near = np.array([slope - near.slope, offset - near.offset])
        gradient = np.array([np.sum(off * odds), np.sum(off)]) + PRIOR * from_near
        return entropy + PRIOR / 2 * float(from_near @ from_near), gradient

    start = np.array([near.slope, near.offset])
    found = minimize(cost, start, jac=True, bounds=[(0.0, None), (None, None)], method="L-BFGS-B")
    slope, offset = (float(value) for value in found.x)
    return Calibration(slope, offset)
