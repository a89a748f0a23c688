"""Which labels are taken for which: detections paired with what is there by overlap alone, then labels compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.segments import best_first_pairs, check_truth, pairwise_ious
from xsam_backend.instances import Instances

LEAST_IOU = 0.5

NOTHING = ""
"""In place of a label: nothing was there (an invented detection), or nothing was found (a missed object)."""


@dataclass(frozen=True)
class Mistake:
    """``true`` objects answered as ``predicted``, ``count`` times; one of both may be ``NOTHING``."""

    true: str
    predicted: str
    count: int


class Confusion:
    """Counts of (true label, predicted label) over pictures that are added one by one.

    Add detections above the score that one would accept: every one that fits no object counts as invented. Add
    pictures of which every instance of the labels asked for is labelled.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(
        self,
        predicted: Instances,
        masks: NDArray[np.bool_],
        labels: Sequence[str],
        is_crowd: NDArray[np.bool_] | None = None,
    ) -> None:
        """Adds one picture: what was found, best first, and the true bool (N, H, W) masks with their labels.

        Pairs are made one to one, the highest IoU first, from 0.5 on. Crowds are not missed, and what lies in one
        by half or more is not invented, whatever the label.

        Raises:
            ValueError: for counts or sizes that do not fit.
        """
        crowd = check_truth(predicted.size_hw, masks, labels, is_crowd)
        ious = pairwise_ious(predicted.masks, masks, crowd)
        pairs = dict(best_first_pairs(ious, (ious >= LEAST_IOU) & ~crowd))
        in_crowd: NDArray[np.bool_] = np.any(ious[:, crowd] >= LEAST_IOU, axis=1)
        for index, label in enumerate(predicted.labels):
            if index in pairs:
                self.counts[labels[pairs[index]], str(label)] += 1
            elif not in_crowd[index]:
                self.counts[NOTHING, str(label)] += 1
        for index in set(range(len(labels))) - set(pairs.values()):
            if not crowd[index]:
                self.counts[labels[index], NOTHING] += 1

    @property
    def labels(self) -> list[str]:
        """All labels seen on either side, sorted."""
        return sorted({label for pair in self.counts for label in pair} - {NOTHING})

    def mistakes(self) -> list[Mistake]:
        """All that went wrong, the most frequent first, then by label."""
        wrong = [Mistake(true, predicted, n) for (true, predicted), n in self.counts.items() if true != predicted]
        return sorted(wrong, key=lambda mistake: (-mistake.count, mistake.true, mistake.predicted))
