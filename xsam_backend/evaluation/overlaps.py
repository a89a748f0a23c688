"""How good the masks of single answers are.

Overlaps are kept as three counts per answer, so that thousands of answers need no masks in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from xsam_backend.geometry.masks import Mask


@dataclass(frozen=True, slots=True)
class Overlap:
    """Pixel counts of one predicted mask against the true one."""

    intersection_px: int
    predicted_px: int
    target_px: int

    @classmethod
    def of(cls, predicted: Mask, target: Mask) -> Overlap:
        """From two bool (H, W) masks.

        Raises:
            ValueError: for different sizes.
        """
        if predicted.shape != target.shape:
            raise ValueError(f"expected masks of one size, got {predicted.shape} and {target.shape}")
        return cls(*(int(np.count_nonzero(mask)) for mask in (predicted & target, predicted, target)))

    @property
    def union_px(self) -> int:
        """Pixels of either mask."""
        return self.predicted_px + self.target_px - self.intersection_px

    @property
    def iou(self) -> float:
        """Intersection over union. Nothing predicted where nothing is: 1. Anything where nothing is: 0."""
        return self.intersection_px / self.union_px if self.union_px else 1.0


def g_iou(overlaps: Iterable[Overlap]) -> float:
    """Mean of the IoUs, absent objects included: one counts 1 if nothing was predicted, else 0 (GRES).

    nan for no overlaps at all. Without absent objects this is the mean IoU (mIoU).
    """
    ious = [overlap.iou for overlap in overlaps]
    return float(np.mean(ious)) if ious else float("nan")


def c_iou(overlaps: Sequence[Overlap]) -> float:
    """All intersections over all unions: large objects weigh more. False alarms for absent ones enlarge the union.

    nan if there is neither a prediction nor a target anywhere.
    """
    union = sum(overlap.union_px for overlap in overlaps)
    return sum(overlap.intersection_px for overlap in overlaps) / union if union else float("nan")


def precision_at(overlaps: Sequence[Overlap], threshold: float) -> float:
    """Share of the answers about something present whose IoU is at least the threshold; nan if there are none."""
    present = [overlap.iou >= threshold for overlap in overlaps if overlap.target_px]
    return float(np.mean(present)) if present else float("nan")


def no_target_accuracy(overlaps: Sequence[Overlap]) -> float:
    """Share of the absent objects for which nothing was predicted (GRES: N-acc.); nan if there are none."""
    silent = [overlap.predicted_px == 0 for overlap in overlaps if not overlap.target_px]
    return float(np.mean(silent)) if silent else float("nan")


def target_accuracy(overlaps: Sequence[Overlap]) -> float:
    """Share of the present objects for which anything was predicted (GRES: T-acc.); nan if there are none.

    The rest are present ones that were refused.
    """
    answered = [overlap.predicted_px > 0 for overlap in overlaps if overlap.target_px]
    return float(np.mean(answered)) if answered else float("nan")
