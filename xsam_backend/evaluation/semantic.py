"""Semantic IoU: per label, all its pixels over all pictures at once, as semantic segmentation's benchmarks do it.

Pixels of which the truth says nothing are ignored. Where masks don't overlap this is what a confusion matrix of
pixels gives; where they do, a pixel counts for each of its labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.label_counts import LabelCounts
from xsam_backend.evaluation.segments import check_truth
from xsam_backend.instances import Instances


class SemanticIoU:
    """IoU per label and its mean over pictures that are added one by one.

    A label that is nowhere, neither in the truth nor predicted on labelled pixels, is left out. ``pictures`` are
    indices in the order of adding, repeats count again.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._index = {label: i for i, label in enumerate(labels)}
        self._counts = LabelCounts(len(self._index), 2)

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, predicted: Instances, masks: NDArray[np.bool_], labels: Sequence[str]) -> None:
        """Adds one picture: what was found, and the true bool (N, H, W) masks with their labels, crowds included.

        Raises:
            ValueError: for counts or sizes that do not fit, or labels that are not among those asked for.
        """
        check_truth(predicted.size_hw, masks, labels)
        unknown = sorted(map(str, {*predicted.labels, *labels} - set(self._index)))
        if unknown:
            raise ValueError(f"expected labels among {sorted(self._index)}, got {unknown}: name them all at first")
        known, predicted_masks = masks.any(0), predicted.masks
        counts = np.zeros((len(self._index), 2), np.int64)
        for label in {*predicted.labels, *labels}:
            found = _union(predicted_masks, predicted.labels, label) & known
            true = _union(masks, labels, label)
            counts[self._index[str(label)]] = np.count_nonzero(found & true), np.count_nonzero(found | true)
        self._counts.add(counts)

    def per_label(self, pictures: NDArray[np.intp] | None = None) -> dict[str, float]:
        """IoU of every label that is anywhere."""
        shared, united = self._counts.total(pictures).T
        return {label: float(shared[i] / united[i]) for label, i in self._index.items() if united[i]}

    def mean(self, pictures: NDArray[np.intp] | None = None) -> float:
        """mIoU: the mean over labels; nan if there are none."""
        ious = list(self.per_label(pictures).values())
        return float(np.mean(ious)) if ious else float("nan")


def _union(masks: NDArray[np.bool_], labels: Sequence[str | None], wanted: str | None) -> NDArray[np.bool_]:
    chosen = [i for i, label in enumerate(labels) if label == wanted]
    union: NDArray[np.bool_] = np.any(masks[chosen], axis=0)
    return union
