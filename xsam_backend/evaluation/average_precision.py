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

    Masks are kept as run lengths. ``pictures`` everywhere are indices in the order of adding, repeats count again;
    that is what a bootstrap asks for. Everything is nan if nothing true was added.
    """

    def __init__(self, max_detections: int = MAX_DETECTIONS) -> None:
        self.max_detections = max_detections
        self._sizes: list[tuple[int, int]] = []
        self._label_ids: dict[str | None, int] = {}
        self._truths: list[dict[str, Any]] = []
        self._detections: list[dict[str, Any]] = []
        self._evaluated: tuple[Any, list[Any]] | None = None

    def __len__(self) -> int:
        return len(self._sizes)

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
        picture = len(self._sizes)
        for mask, label, is_group in zip(masks, labels, crowd, strict=True):
            number = len(self._truths) + 1  # the library reads 0 as "no match"
            entry = self._entry(picture, mask, label)
            self._truths.append({**entry, "id": number, "area": int(mask.sum()), "iscrowd": int(is_group)})
        for mask, label, score in zip(predicted.masks, predicted.labels, predicted.scores, strict=True):
            self._detections.append({**self._entry(picture, mask, label), "score": float(score)})
        self._sizes.append(predicted.size_hw)
        self._evaluated = None

    def at(self, threshold: float = 0.5, pictures: NDArray[np.intp] | None = None) -> float:
        """Mean AP over labels at one of COCO's IoU thresholds: AP50 by default, 0.75 for AP75."""
        return _mean(self._tables(pictures)[0][_threshold_index(threshold)])

    def mean(self, pictures: NDArray[np.intp] | None = None) -> float:
        """COCO's AP: the mean over the thresholds 0.5, 0.55 .. 0.95."""
        return _mean(self._tables(pictures)[0])

    def recall(self, pictures: NDArray[np.intp] | None = None) -> float:
        """COCO's AR: the share of instances found with ``max_detections``, mean over labels and thresholds."""
        return _mean(self._tables(pictures)[1])

    def per_label(self, threshold: float | None = 0.5) -> dict[str | None, float]:
        """AP at one IoU threshold, or its mean over all (None), for every label that has true instances."""
        chosen = slice(None) if threshold is None else [_threshold_index(threshold)]
        precision = self._tables(None)[0][chosen]
        return {
            label: _mean(precision[:, index])
            for index, label in enumerate(self._label_ids)
            if (precision[:, index] >= 0).all()
        }

    def _entry(self, picture: int, mask: NDArray[np.bool_], label: str | None) -> dict[str, Any]:
        label_id = self._label_ids.setdefault(label, len(self._label_ids))
        return {"image_id": picture, "category_id": label_id, "segmentation": mask_to_coco_rle(mask)}

    def _tables(self, pictures: NDArray[np.intp] | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """float (10, labels, 101) precisions and (10, labels) recalls, -1 where a label has no true instance."""
        count = len(self._sizes)
        if not self._label_ids:
            return np.full((10, 0, 101), -1.0), np.full((10, 0), -1.0)
        if self._evaluated is None:
            self._evaluated = self._evaluate()
        params, per_picture = self._evaluated
        if pictures is not None:
            params = copy.copy(params)
            params.imgIds = list(range(len(pictures)))
            # One entry per label and picture, label by label.
            starts = range(0, len(per_picture), count)
            per_picture = [per_picture[start + int(picture)] for start in starts for picture in pictures]
        tables = COCOevalAccumulate(params, per_picture)
        precision = np.asarray(tables["precision"])[..., 0, 0]
        return np.moveaxis(precision, 1, 2), np.asarray(tables["recall"])[..., 0, 0]

    def _evaluate(self) -> tuple[Any, list[Any]]:
        """The library's settings, and its matches for every label and picture."""
        truth = COCO(
            {
                "info": {},
                "images": [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(self._sizes)],
                "annotations": [dict(entry) for entry in self._truths],
                "categories": [{"id": i, "name": str(label)} for label, i in self._label_ids.items()],
            }
        )
        detections = truth.loadRes([dict(entry) for entry in self._detections])
        evaluation = COCOeval_faster(truth, detections, "segm", print_function=_logger.debug, separate_eval=True)
        evaluation.params.maxDets = [self.max_detections]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = _ANY_AREA_PX, ["all"]
        evaluation.evaluate()
        # No public door leads to the matches of single pictures, without which every bootstrap sample would have to
        # match all masks anew.
        return evaluation.params, evaluation._evalImgs_cpp


def _threshold_index(threshold: float) -> int:
    for index, known in enumerate(COCO_IOU_THRESHOLDS):
        if abs(threshold - known) < 1e-6:
            return index
    raise ValueError(f"threshold: expected one of {COCO_IOU_THRESHOLDS}, got {threshold}")


def _mean(values: NDArray[np.float64]) -> float:
    present = values[values >= 0]
    return float(present.mean()) if present.size else float("nan")
