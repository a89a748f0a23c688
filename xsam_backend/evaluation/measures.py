"""How good masks are: overlaps of single answers, and average precision of instance lists.

Overlaps are kept as four counts per answer, so that thousands of answers need no masks in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.masks import Mask
from xsam_backend.instances import Instances

COCO_IOU_THRESHOLDS: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
MAX_DETECTIONS = 100
"""Per picture and label the surest this many count, as in COCO's evaluation."""

_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
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


def silence_on_absent(overlaps: Sequence[Overlap]) -> float:
    """Share of the absent objects for which nothing was predicted (GRES: N-acc.); nan if there are none."""
    silent = [overlap.predicted_px == 0 for overlap in overlaps if not overlap.target_px]
    return float(np.mean(silent)) if silent else float("nan")


@dataclass(frozen=True)
class _Judged:
    """One picture's detections of one label, surest first, against the true instances of that label."""

    scores: NDArray[np.float32]
    ious: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]


class AveragePrecision:
    """COCO's average precision of masks over pictures that are added one by one.

    Per label, detections are taken surest first; each takes the free true instance that it overlaps most, if the IoU
    reaches the threshold. Crowds are no targets: what lies in one (share of the detection's own area) counts neither
    way. Precision is made non-increasing and read at 101 recalls; labels count alike. Add only labels of which every
    instance is labelled, else right finds count as wrong.
    """

    def __init__(self) -> None:
        self._judged: dict[str | None, list[_Judged]] = defaultdict(list)

    def add(
        self,
        predicted: Instances,
        masks: NDArray[np.bool_],
        labels: Sequence[str | None],
        is_crowd: NDArray[np.bool_] | None = None,
    ) -> None:
        """Adds one picture.

        Args:
            predicted: what was found.
            masks: bool (N, H, W), what is there.
            labels: N labels, matched as they are with ``predicted.labels``.
            is_crowd: bool (N,), none if not given.

        Raises:
            ValueError: for counts or sizes that do not fit.
        """
        crowd = np.zeros(len(masks), np.bool_) if is_crowd is None else is_crowd
        if masks.shape[1:] != predicted.masks.shape[1:] or not len(masks) == len(labels) == len(crowd):
            raise ValueError(
                f"expected as many labels as masks and masks of {predicted.masks.shape[1:]}, "
                f"got {len(labels)} labels, {len(crowd)} crowd flags and masks {masks.shape}"
            )
        for label in dict.fromkeys((*predicted.labels, *labels)):
            found = np.array([i for i, other in enumerate(predicted.labels) if other == label], np.intp)
            there = np.array([i for i, other in enumerate(labels) if other == label], np.intp)
            found = found[np.argsort(-predicted.scores[found], kind="stable")][:MAX_DETECTIONS]
            ious = _ious(predicted.masks[found], masks[there], crowd[there])
            self._judged[label].append(_Judged(predicted.scores[found], ious, crowd[there]))

    def per_label(self, threshold: float = 0.5) -> dict[str | None, float]:
        """AP at one IoU threshold for every label that has true instances."""
        values = {label: _average_precision(judged, threshold) for label, judged in self._judged.items()}
        return {label: value for label, value in values.items() if value is not None}

    def at(self, threshold: float = 0.5) -> float:
        """Mean AP over labels at one IoU threshold: AP50 by default; nan if nothing true was added."""
        values = list(self.per_label(threshold).values())
        return float(np.mean(values)) if values else float("nan")

    def mean(self) -> float:
        """COCO's AP: the mean over the thresholds 0.5, 0.55 .. 0.95."""
        return float(np.mean([self.at(threshold) for threshold in COCO_IOU_THRESHOLDS]))


def _ious(found: NDArray[np.bool_], there: NDArray[np.bool_], is_crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float (D, G): IoU, or for crowds the share of the detection inside."""
    pixels = found.shape[1] * found.shape[2]
    first, second = (masks.reshape(len(masks), pixels).astype(np.float32) for masks in (found, there))
    intersection = (first @ second.T).astype(np.float64)
    area, other = first.sum(1, dtype=np.float64)[:, None], second.sum(1, dtype=np.float64)[None]
    union = np.where(is_crowd[None], area, area + other - intersection)
    ious: NDArray[np.float64] = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return ious


def _average_precision(judged: Sequence[_Judged], threshold: float) -> float | None:
    """None where there is no true instance but crowds."""
    targets = sum(int(np.count_nonzero(~picture.is_crowd)) for picture in judged)
    if not targets:
        return None
    scores = np.concatenate([picture.scores for picture in judged])
    outcome = np.concatenate([_outcomes(picture, threshold) for picture in judged])
    order = np.argsort(-scores, kind="stable")
    outcome = outcome[order][outcome[order] != _IGNORED]
    hits = np.cumsum(outcome == _HIT)
    recall = hits / targets
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[np.minimum(at, len(precision))].mean())


_MISS, _HIT, _IGNORED = 0, 1, 2


def _outcomes(picture: _Judged, threshold: float) -> NDArray[np.int8]:
    """For each detection, surest first, whether it hits, misses or is ignored."""
    free = ~picture.is_crowd
    outcomes = np.full(len(picture.scores), _MISS, np.int8)
    for index, ious in enumerate(picture.ious):
        best = np.where(free, ious, -1.0)
        if best.size and best.max() >= threshold:
            # COCO's evaluation gives equal overlaps to the last instance.
            free[len(best) - 1 - int(np.argmax(best[::-1]))] = False
            outcomes[index] = _HIT
        elif (ious[picture.is_crowd] >= threshold).any():
            outcomes[index] = _IGNORED
    return outcomes
