"""Whether a score of 0.8 is right in 80 of 100 cases: reliability curve and expected calibration error.

A detection is right if it hits an object at IoU >= 0.5. ECE as in Guo et al. 2017 (arXiv 1706.04599): bins of equal
width, the difference between mean score and share of right ones, weighted by how many a bin holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xsam_backend.evaluation.segments import check_truth, pairwise_ious
from xsam_backend.instances import Instances

RIGHT_IOU = 0.5


@dataclass(frozen=True)
class Bin:
    """Detections with low <= score < high (the last bin holds 1, too); means are nan where there are none."""

    low: float
    high: float
    count: int
    mean_score: float
    share_right: float


def right_detections(
    predicted: Instances,
    masks: NDArray[np.bool_],
    labels: Sequence[str | None],
    is_crowd: NDArray[np.bool_] | None = None,
    least_iou: float = RIGHT_IOU,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores of one picture's detections, surest first, and which are right, each (D,).

    As for average precision: each takes the free true mask of its label that it overlaps most; what lies in a crowd
    of its label counts neither way and is left out.

    Raises:
        ValueError: for counts or sizes that do not fit.
    """
    crowd = check_truth(predicted.size_hw, masks, labels, is_crowd)
    order = np.argsort(-predicted.scores, kind="stable")
    ious = pairwise_ious(predicted.masks, masks, crowd)
    same = np.array([[mine == true for true in labels] for mine in predicted.labels], np.bool_).reshape(ious.shape)
    ious = np.where(same, ious, -1.0)
    free = ~crowd
    counted, right = [], []
    for index in order:
        # COCO's evaluation gives equal overlaps to the last instance.
        target = len(masks) - 1 - int(np.argmax(np.where(free, ious[index], -1.0)[::-1])) if len(masks) else -1
        hits = target >= 0 and bool(free[target]) and bool(ious[index, target] >= least_iou)
        if hits:
            free[target] = False
        elif (ious[index, crowd] >= least_iou).any():
            continue
        counted.append(index)
        right.append(hits)
    return predicted.scores[np.array(counted, np.intp)], np.array(right, np.bool_)


def reliability_curve(scores: ArrayLike, right: ArrayLike, bins: int = 10) -> list[Bin]:
    """What became of N scores, 0..1, by bins of equal width.

    Raises:
        ValueError: other counts of scores and outcomes, or scores outside 0..1.
    """
    values, outcomes = np.asarray(scores, np.float64), np.asarray(right, np.bool_)
    if values.shape != outcomes.shape or values.ndim != 1:
        raise ValueError(f"expected as many outcomes as scores, got {values.shape} and {outcomes.shape}")
    if len(values) and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"scores: expected 0..1, got {values.min()} to {values.max()}")
    edges = np.linspace(0, 1, bins + 1)
    which = np.minimum(np.searchsorted(edges, values, side="right") - 1, bins - 1)
    return [
        Bin(
            float(edges[i]),
            float(edges[i + 1]),
            int(np.count_nonzero(which == i)),
            _mean(values[which == i]),
            _mean(outcomes[which == i]),
        )
        for i in range(bins)
    ]


def expected_calibration_error(curve: Sequence[Bin]) -> float:
    """ECE of a reliability curve, 0 (scores are shares) to 1; nan for no detections."""
    filled = [entry for entry in curve if entry.count]
    total = sum(entry.count for entry in filled)
    if not total:
        return float("nan")
    return sum(entry.count * abs(entry.mean_score - entry.share_right) for entry in filled) / total


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")
