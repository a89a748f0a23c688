"""Average precision of instance lists, as COCO defines it: faster-coco-eval matches, what follows is counted here.

The library's own counting has no door to single pictures: a bootstrap would have to go through all of their matches
for every draw, which is hours for a few thousand pictures. What it says of each detection is kept in twelve bytes.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from xsam_backend.evaluation.segments import check_truth
from xsam_backend.geometry.coco_rle import mask_to_coco_rle
from xsam_backend.instances import Instances

COCO_IOU_THRESHOLDS: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
MAX_DETECTIONS = 100
"""Per picture and label the surest this many count, as in COCO's evaluation."""

_ANY_AREA_PX = [[0, 1e10]]
_RECALLS = np.linspace(0, 1, 101)
"""At these precision is read."""
_BITS = 1 << np.arange(len(COCO_IOU_THRESHOLDS))

_logger = logging.getLogger(__name__)


class AveragePrecision:
    """COCO's average precision and recall of masks over pictures that are added one by one.

    Per label, detections are taken surest first; each takes the free true instance that it overlaps most, if the IoU
    reaches the threshold. Crowds are no targets: what lies in one (share of the detection's own area) counts neither
    way. Precision is made non-increasing and read at 101 recalls; labels that are there count alike. Add only labels
    of which every instance is labelled, else right finds count as wrong.

    Of a picture, only what matched is kept, no masks. ``pictures`` everywhere are indices in the order of adding,
    repeats count again; that is what a bootstrap asks for. Everything is nan if nothing true was added.
    """

    def __init__(self, max_detections: int = MAX_DETECTIONS) -> None:
        self.max_detections = max_detections
        self._count = 0
        self._labels: dict[str | None, _Judged] = {}

    def __len__(self) -> int:
        return self._count

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
        crowd = check_truth(predicted.size_hw, masks, labels, is_crowd)
        names = tuple(dict.fromkeys((*labels, *predicted.labels)))
        number = {label: index for index, label in enumerate(names)}
        truths = [
            # The library reads the number 0 as "no match".
            _entry(mask, number[label]) | {"id": index, "area": int(mask.sum()), "iscrowd": int(is_group)}
            for index, (mask, label, is_group) in enumerate(zip(masks, labels, crowd, strict=True), start=1)
        ]
        detections = [
            _entry(mask, number[label]) | {"score": float(score)}
            for mask, label, score in zip(predicted.masks, predicted.labels, predicted.scores, strict=True)
        ]
        if names:
            matches = self._matched(predicted.size_hw, len(names), truths, detections)
            for label, match in zip(names, matches, strict=True):
                self._labels.setdefault(label, _Judged()).add(self._count, match)
        self._count += 1

    def at(self, threshold: float = 0.5, pictures: NDArray[np.intp] | None = None) -> float:
        """Mean AP over labels at one of COCO's IoU thresholds: AP50 by default, 0.75 for AP75."""
        return _mean(self._tables(pictures)[0][_threshold_index(threshold)])

    def mean(self, pictures: NDArray[np.intp] | None = None) -> float:
        """COCO's AP: the mean over the thresholds 0.5, 0.55 .. 0.95."""
        return _mean(self._tables(pictures)[0])

    def summary(self, pictures: NDArray[np.intp] | None = None) -> tuple[float, float, float]:
        """AP, AP50 and AP75 at once, as ``mean`` and ``at`` give them."""
        precision = self._tables(pictures)[0]
        return _mean(precision), _mean(precision[_threshold_index(0.5)]), _mean(precision[_threshold_index(0.75)])

    def recall(self, pictures: NDArray[np.intp] | None = None) -> float:
        """COCO's AR: the share of instances found with ``max_detections``, mean over labels and thresholds."""
        return _mean(self._tables(pictures)[1])

    def per_label(self, threshold: float | None = 0.5) -> dict[str | None, float]:
        """AP at one IoU threshold, or its mean over all (None), for every label that has true instances."""
        chosen = slice(None) if threshold is None else [_threshold_index(threshold)]
        means = self._tables(None)[0][chosen].mean(0)
        return {label: float(ap) for label, ap in zip(self._labels, means, strict=True) if not np.isnan(ap)}

    def _tables(self, pictures: NDArray[np.intp] | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """float (10, labels): average precisions and recalls; nan where a label has no true instance."""
        times = np.ones(self._count, np.intp) if pictures is None else np.bincount(pictures, minlength=self._count)
        tables = np.full((2, len(COCO_IOU_THRESHOLDS), len(self._labels)), np.nan)
        for index, judged in enumerate(self._labels.values()):
            tables[:, :, index] = judged.precision_and_recall(times)
        return tables[0], tables[1]

    def _matched(
        self, size_hw: tuple[int, int], labels: int, truths: list[dict[str, Any]], detections: list[dict[str, Any]]
    ) -> list[Any]:
        """What the library says of one picture, label by label."""
        truth = COCO(
            {
                "info": {},
                "images": [{"id": 0, "height": size_hw[0], "width": size_hw[1]}],
                "annotations": truths,
                "categories": [{"id": index, "name": str(index)} for index in range(labels)],
            }
        )
        evaluation = COCOeval_faster(
            truth, truth.loadRes(detections), "segm", print_function=_logger.debug, separate_eval=True
        )
        evaluation.params.maxDets = [self.max_detections]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = _ANY_AREA_PX, ["all"]
        evaluation.evaluate()
        matches: list[Any] = evaluation._evalImgs_cpp
        return matches


class _Judged:
    """All detections of one label, and how many true instances it has, picture by picture."""

    def __init__(self) -> None:
        self._pictures, self._scores = array("i"), array("f")
        # One bit for each IoU threshold.
        self._right, self._ignored = array("H"), array("H")
        self._true_pictures, self._true_counts = array("i"), array("i")
        self._order: _SurestFirst | None = None

    def add(self, picture: int, match: Any) -> None:
        """One picture's matches: the library shows them nowhere but in what it would pickle."""
        matched_ids, _, scores, true_ignored, ignored, _ = match.__getstate__()
        shape = (len(COCO_IOU_THRESHOLDS), len(scores))
        is_ignored = np.array(ignored, np.bool_).reshape(shape)
        is_right = (np.array(matched_ids, np.int64).reshape(shape) > 0) & ~is_ignored
        self._pictures.extend([picture] * len(scores))
        self._scores.extend(scores)
        self._right.extend((_BITS @ is_right).tolist())
        self._ignored.extend((_BITS @ is_ignored).tolist())
        true = len(true_ignored) - sum(true_ignored)
        if true:
            self._true_pictures.append(picture)
            self._true_counts.append(true)
        self._order = None

    def precision_and_recall(self, times: NDArray[np.intp]) -> NDArray[np.float64]:
        """float (2, 10): average precision and recall at each threshold, nan without a true instance.

        ``times`` is how often each picture counts.
        """
        there = int(times[np.array(self._true_pictures, np.intp)] @ np.array(self._true_counts, np.intp))
        result = np.full((2, len(COCO_IOU_THRESHOLDS)), np.nan if not there else 0.0)
        if not there or not self._pictures:
            return result
        if self._order is None:
            self._order = self._surest_first()
        weights = times[self._order.pictures]
        seen = np.cumsum(weights)
        for threshold, (right, ignored) in enumerate(zip(self._order.right, self._order.ignored, strict=True)):
            found = np.cumsum(weights[right])
            if not len(found):
                continue
            counted = seen[right]
            if len(ignored):
                counted = counted - np.append(0, np.cumsum(weights[ignored]))[np.searchsorted(ignored, right)]
            # Between two right ones precision only falls: they alone matter.
            precision = np.maximum.accumulate((found / np.maximum(counted, 1))[::-1])[::-1]
            places = np.searchsorted(found / there, _RECALLS)
            reached = places[places < len(found)]
            result[0, threshold] = precision[reached].sum() / len(_RECALLS)
            result[1, threshold] = found[-1] / there
        return result

    def _surest_first(self) -> _SurestFirst:
        order = np.argsort(-np.array(self._scores, np.float32), kind="stable")
        right, ignored = (
            [np.flatnonzero(bits[order] & bit) for bit in _BITS]
            for bits in (np.array(self._right, np.int64), np.array(self._ignored, np.int64))
        )
        return _SurestFirst(np.array(self._pictures, np.intp)[order], right, ignored)


@dataclass(frozen=True)
class _SurestFirst:
    """Detections of all pictures in the order of their scores.

    Attributes:
        pictures: intp (D,), where each is from.
        right: for each threshold the places of those that hit an instance.
        ignored: of those that count neither way.
    """

    pictures: NDArray[np.intp]
    right: list[NDArray[np.intp]]
    ignored: list[NDArray[np.intp]]


def _entry(mask: NDArray[np.bool_], label_id: int) -> dict[str, Any]:
    return {"image_id": 0, "category_id": label_id, "segmentation": mask_to_coco_rle(mask)}


def _threshold_index(threshold: float) -> int:
    for index, known in enumerate(COCO_IOU_THRESHOLDS):
        if abs(threshold - known) < 1e-6:
            return index
    raise ValueError(f"threshold: expected one of {COCO_IOU_THRESHOLDS}, got {threshold}")


def _mean(values: NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
