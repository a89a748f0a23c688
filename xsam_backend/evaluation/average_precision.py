"""Average precision of instance lists, as COCO defines it: counted by faster-coco-eval.

The library is read at its arrays, not at its summary: COCO's own summary gives -1 for any other number of detections
than 100.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval.faster_eval_api_cpp import COCOevalAccumulate
from numpy.typing import NDArray

from xsam_backend.evaluation.segments import check_truth
from xsam_backend.geometry.rle import mask_to_coco_rle
from xsam_backend.instances import Instances

COCO_IOU_THRESHOLDS: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
MAX_DETECTIONS = 100
"""Per picture and label the surest this many count, as in COCO's evaluation."""
MAX_DETECTIONS_DENSE = 500
"""The same where a picture holds hundreds of objects of one label: cells, windows of a facade."""

_ANY_AREA_PX = [[0, 1e10]]

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
        self._params: Any = None
        self._matches: dict[str | None, list[tuple[int, Any]]] = {}

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
            self._params, matches = self._matched(predicted.size_hw, len(names), truths, detections)
            for label, match in zip(names, matches, strict=True):
                self._matches.setdefault(label, []).append((self._count, match))
        self._count += 1

    def at(self, threshold: float = 0.5, pictures: NDArray[np.intp] | None = None) -> float:
        """Mean AP over labels at one of COCO's IoU thresholds: AP50 by default, 0.75 for AP75."""
        index = _threshold_index(threshold)
        return _mean(self._tables(pictures)[0][index])

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
        precision = self._tables(None)[0][chosen]
        return {
            label: _mean(precision[:, index])
            for index, label in enumerate(self._matches)
            if (precision[:, index] >= 0).all()
        }

    def _tables(self, pictures: NDArray[np.intp] | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """float (10, labels, 101) precisions and (10, labels) recalls, -1 where a label has no true instance."""
        times = np.ones(self._count, np.intp) if pictures is None else np.bincount(pictures, minlength=self._count)
        precision = np.full((10, len(self._matches), 101), -1.0)
        recall = np.full((10, len(self._matches)), -1.0)
        for index, own in enumerate(self._matches.values()):
            chosen = [match for picture, match in own for _ in range(times[picture])]
            if chosen:
                # Label by label, and only pictures that have to do with it: most have not.
                params = copy.copy(self._params)
                params.catIds, params.imgIds = [0], list(range(len(chosen)))
                tables = COCOevalAccumulate(params, chosen)
                precision[:, index] = np.asarray(tables["precision"])[:, :, 0, 0, 0]
                recall[:, index] = np.asarray(tables["recall"])[:, 0, 0, 0]
        return precision, recall

    def _matched(
        self, size_hw: tuple[int, int], labels: int, truths: list[dict[str, Any]], detections: list[dict[str, Any]]
    ) -> tuple[Any, list[Any]]:
        """The library's settings, and its matches in one picture, label by label."""
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
        # No public door leads to the matches of single pictures, without which all masks would have to be kept, and
        # matched anew for every bootstrap sample.
        return evaluation.params, evaluation._evalImgs_cpp


def _entry(mask: NDArray[np.bool_], label_id: int) -> dict[str, Any]:
    return {"image_id": 0, "category_id": label_id, "segmentation": mask_to_coco_rle(mask)}


def _threshold_index(threshold: float) -> int:
    for index, known in enumerate(COCO_IOU_THRESHOLDS):
        if abs(threshold - known) < 1e-6:
            return index
    raise ValueError(f"threshold: expected one of {COCO_IOU_THRESHOLDS}, got {threshold}")


def _mean(values: NDArray[np.float64]) -> float:
    present = values[values >= 0]
    return float(present.mean()) if present.size else float("nan")
