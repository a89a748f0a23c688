"""Panoptic quality, after Kirillov et al. 2019 (arXiv 1801.00868) and the rules of cocodataset/panopticapi.

Per label, a predicted segment and a true one match if their IoU is above 0.5, which each segment can be for one other
only. With TP matches, FP predicted and FN true segments left over:

    PQ = sum of the matches' IoU / (TP + FP / 2 + FN / 2) = SQ * RQ
    SQ = mean IoU of the matches,  RQ = TP / (TP + FP / 2 + FN / 2)

A truth seldom says something of every pixel. Pixels in no true segment are void: they are taken out of the union, and
an unmatched segment of which more than half is void counts neither way. A crowd is no target; an unmatched segment of
its label counts neither way if more than half of it is crowd and void together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.label_counts import LabelCounts
from xsam_backend.evaluation.segments import check_truth
from xsam_backend.instances import Instances

_MATCH_IOU = 0.5
_IGNORED_SHARE = 0.5


@dataclass(frozen=True)
class Quality:
    """Panoptic, segmentation and recognition quality, 0..1; nan if there is nothing to judge.

    ``labels`` is the number of labels that the means are over.
    """

    pq: float
    sq: float
    rq: float
    labels: int = 1


_IOU, _MATCHED, _INVENTED, _MISSED = range(4)
"""Columns of the counts that are kept of every label in every picture."""


class PanopticQuality:
    """PQ, SQ and RQ over pictures that are added one by one.

    ``is_thing`` names all labels that are asked for, and whether each is a thing. Labels with neither a true nor a
    predicted segment are left out of the means, the others count alike. Segments without a pixel don't count.
    ``pictures`` are indices in the order of adding, repeats count again.
    """

    def __init__(self, is_thing: Mapping[str, bool]) -> None:
        self._labels = tuple(is_thing)
        self._things = np.array([is_thing[label] for label in self._labels], np.bool_)
        self._counts = LabelCounts(len(self._labels), 4)

    def __len__(self) -> int:
        return len(self._counts)

    def add(
        self,
        predicted: Instances,
        masks: NDArray[np.bool_],
        labels: Sequence[str],
        is_crowd: NDArray[np.bool_] | None = None,
    ) -> None:
        """Adds one picture.

        Args:
            predicted: segments, best first. Where they overlap, a pixel belongs to the first.
            masks: bool (N, H, W), the true segments. Stuff is one segment per label.
            labels: N labels.
            is_crowd: bool (N,), none if not given.

        Raises:
            ValueError: for counts or sizes that do not fit, true segments that overlap, or labels that are not among
                those asked for.
        """
        crowd = check_truth(predicted.size_hw, masks, labels, is_crowd)
        unknown = sorted(map(str, {*predicted.labels, *labels} - set(self._labels)))
        if unknown:
            raise ValueError(f"expected labels among {sorted(self._labels)}, got {unknown}: name them all at first")
        twice = int(np.count_nonzero(np.count_nonzero(masks, axis=0) > 1))
        if twice:
            raise ValueError(
                f"expected true segments that don't overlap, got {twice} px in several: a panoptic truth"
            )
        index = {label: i for i, label in enumerate(self._labels)}
        true_labels = np.array([index[label] for label in labels], np.intp)
        found_labels = np.array([index[str(label)] for label in predicted.labels], np.intp)
        shared = shared_pixels(owners(masks), len(masks), owners(predicted.masks), len(predicted))
        counts = np.zeros((len(self._labels), 4))
        _count(counts, shared, true_labels, crowd, found_labels)
        self._counts.add(counts)

    def per_label(self, pictures: NDArray[np.intp] | None = None) -> dict[str, Quality]:
        """Of every label that has a true or a predicted segment."""
        qualities = self._qualities(pictures)
        return {
            label: _quality(row) for label, row in zip(self._labels, qualities, strict=True) if np.isfinite(row).all()
        }

    def summary(self, pictures: NDArray[np.intp] | None = None) -> tuple[Quality, Quality, Quality]:
        """The means over all labels, over things and over stuff."""
        qualities = self._qualities(pictures)
        return _mean(qualities), _mean(qualities[self._things]), _mean(qualities[~self._things])

    def all(self, pictures: NDArray[np.intp] | None = None) -> Quality:
        """The mean over all labels."""
        return self.summary(pictures)[0]

    def things(self, pictures: NDArray[np.intp] | None = None) -> Quality:
        """The mean over things."""
        return self.summary(pictures)[1]

    def stuff(self, pictures: NDArray[np.intp] | None = None) -> Quality:
        """The mean over stuff."""
        return self.summary(pictures)[2]

    def _qualities(self, pictures: NDArray[np.intp] | None) -> NDArray[np.float64]:
        """float (labels, 3): PQ, SQ, RQ; nan for a label that is nowhere."""
        total = self._counts.total(pictures)
        weight = total[:, _MATCHED] + (total[:, _INVENTED] + total[:, _MISSED]) / 2
        there = np.where(weight > 0, weight, np.nan)
        sq = total[:, _IOU] / np.maximum(total[:, _MATCHED], 1)
        return np.stack(
            [total[:, _IOU] / there, np.where(weight > 0, sq, np.nan), total[:, _MATCHED] / there], axis=1
        )


def owners(masks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """intp (H, W): the first of the bool (N, H, W) masks that holds the pixel, N where none does."""
    first = np.full(masks.shape[1:], len(masks), np.intp)
    for index in reversed(range(len(masks))):
        first[masks[index]] = index
    return first


def shared_pixels(
    true_owners: NDArray[np.intp], true_count: int, found_owners: NDArray[np.intp], found_count: int
) -> NDArray[np.int64]:
    """int64 (true_count + 1, found_count + 1): pixels in both; the last row and column are for "in none"."""
    columns = found_count + 1
    pairs = np.bincount((true_owners * columns + found_owners).ravel(), minlength=(true_count + 1) * columns)
    return pairs.reshape(true_count + 1, columns)


def _count(
    counts: NDArray[np.float64],
    shared: NDArray[np.int64],
    true_labels: NDArray[np.intp],
    is_crowd: NDArray[np.bool_],
    found_labels: NDArray[np.intp],
) -> None:
    """Adds one picture's matches and what is left over to ``counts``, (labels, 4)."""
    void_px = shared[-1, :-1]
    inside = shared[:-1, :-1]
    found_px = shared[:, :-1].sum(0)
    true_px = shared[:-1].sum(1)
    union = true_px[:, None] + found_px[None] - inside - void_px[None]
    ious = np.divide(inside, union, out=np.zeros(inside.shape), where=union > 0)
    same = true_labels[:, None] == found_labels[None]
    matches = same & ~is_crowd[:, None] & (ious > _MATCH_IOU)
    for true, found in np.argwhere(matches):
        counts[true_labels[true], [_IOU, _MATCHED]] += ious[true, found], 1
    for label in true_labels[~is_crowd & (true_px > 0) & ~matches.any(1)]:
        counts[label, _MISSED] += 1
    ignored_px = void_px + np.where(same & is_crowd[:, None], inside, 0).sum(0)
    invented = ~matches.any(0) & (found_px > 0) & (ignored_px <= _IGNORED_SHARE * found_px)
    for label in found_labels[invented]:
        counts[label, _INVENTED] += 1


def _mean(qualities: NDArray[np.float64]) -> Quality:
    """Over the labels that are there."""
    there = qualities[np.isfinite(qualities).all(1)]
    if not len(there):
        return Quality(float("nan"), float("nan"), float("nan"), 0)
    return _quality(there.mean(0), len(there))


def _quality(row: NDArray[np.float64], labels: int = 1) -> Quality:
    return Quality(float(row[0]), float(row[1]), float(row[2]), labels)
