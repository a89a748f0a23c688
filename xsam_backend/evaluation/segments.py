"""Two lists of masks of one picture side by side: whether they fit together, and how much each pair overlaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from faster_coco_eval.core import mask as coco_masks
from numpy.typing import NDArray

from xsam_backend.geometry.coco_rle import mask_to_coco_rle


def check_truth(
    size_hw: tuple[int, int],
    masks: NDArray[np.bool_],
    labels: Sequence[str | None],
    is_crowd: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """The crowd flags, bool (N,), none set if not given, of N true masks, bool (N, H, W), and their labels.

    Raises:
        ValueError: for counts that differ, or masks of another size than the predicted ones.
    """
    crowd = np.zeros(len(masks), np.bool_) if is_crowd is None else is_crowd
    if masks.shape[1:] != size_hw or not len(masks) == len(labels) == len(crowd):
        raise ValueError(
            f"expected as many labels as masks and masks of {size_hw}, "
            f"got {len(labels)} labels, {len(crowd)} crowd flags and masks {masks.shape}"
        )
    return crowd


def pairwise_ious(
    found: NDArray[np.bool_], true: NDArray[np.bool_], is_crowd: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """float64 (F, T): IoU of each of bool (F, H, W) masks with each of (T, H, W); for crowds, the share inside.

    An empty mask overlaps with nothing. Counted on run lengths: hundreds of masks of a large picture fit in memory.
    """
    if not len(found) or not len(true):
        return np.zeros((len(found), len(true)))
    crowd = np.zeros(len(true), np.bool_) if is_crowd is None else is_crowd
    runs = [[mask_to_coco_rle(mask) for mask in masks] for masks in (found, true)]
    ious: NDArray[np.float64] = np.asarray(coco_masks.iou(*runs, crowd.astype(int).tolist()), np.float64)
    return ious


def best_first_pairs(ious: NDArray[np.float64], admissible: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Rows and columns of (F, T) ``ious`` paired one to one among the admissible, the highest IoU first.

    Of equal ones that of the first row, then of the first column.
    """
    rows, columns = np.nonzero(admissible)
    pairs: list[tuple[int, int]] = []
    free_rows, free_columns = np.ones(ious.shape[0], np.bool_), np.ones(ious.shape[1], np.bool_)
    for index in np.argsort(-ious[rows, columns], kind="stable"):
        row, column = int(rows[index]), int(columns[index])
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            pairs.append((row, column))
    return pairs
