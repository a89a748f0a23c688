"""Saying that there is nothing: what a score threshold does to answers about present and absent objects.

Measures as in gRefCOCO's paper (Liu et al. 2023, "GRES", arXiv 2306.00968): a right refusal counts 1 in gIoU, a false
alarm enlarges cIoU's union; N-acc. is the share of absent objects refused, T-acc. that of present ones answered. A
threshold is to be chosen on other pictures than those that are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xsam_backend.evaluation.overlaps import Overlap, c_iou, g_iou, no_target_accuracy, target_accuracy

DEFAULT_THRESHOLDS: tuple[float, ...] = tuple(step / 100 for step in range(101))


@dataclass(frozen=True, slots=True)
class ScoredOverlap:
    """The answer that a phrase would get without any threshold: its score, 0..1, and how its mask fits."""

    score: float
    overlap: Overlap

    def at(self, threshold: float) -> Overlap:
        """With a threshold: below it nothing is predicted."""
        return self.overlap if self.score >= threshold else Overlap(0, 0, self.overlap.target_px)


@dataclass(frozen=True)
class RefusalPoint:
    """All measures at one threshold; nan where there is nothing of the kind.

    Attributes:
        no_target_accuracy: share of absent objects that are refused.
        target_accuracy: share of present objects that are answered; the rest are refused.
    """

    threshold: float
    g_iou: float
    c_iou: float
    no_target_accuracy: float
    target_accuracy: float


def refusals_at(answers: Sequence[ScoredOverlap], threshold: float) -> RefusalPoint:
    """What one threshold gives."""
    overlaps = [answer.at(threshold) for answer in answers]
    return RefusalPoint(
        threshold, g_iou(overlaps), c_iou(overlaps), no_target_accuracy(overlaps), target_accuracy(overlaps)
    )


def refusal_curve(
    answers: Sequence[ScoredOverlap], thresholds: Sequence[float] = DEFAULT_THRESHOLDS
) -> list[RefusalPoint]:
    """One point per threshold, in their order."""
    return [refusals_at(answers, threshold) for threshold in thresholds]


def threshold_refusing_at_most(answers: Sequence[ScoredOverlap], share: float) -> float:
    """The highest threshold at which at most this share of the present objects is refused.

    So it refuses as many absent ones as that allows. 0 where more than the share get no mask at any threshold.

    Raises:
        ValueError: a share outside of 0 <= share < 1, or no present object to go by.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share: expected 0 <= share < 1, got {share}")
    present = sorted(
        answer.score if answer.overlap.predicted_px else -1.0 for answer in answers if answer.overlap.target_px
    )
    if not present:
        raise ValueError("expected at least one answer about a present object, got none: nothing says what to keep")
    # Rounded first: 0.29 * 100 is a little less than 29.
    return max(0.0, present[int(np.floor(round(share * len(present), 9)))])
