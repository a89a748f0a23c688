"""How large a label's objects are in a project's pictures: small ones are worth a closer look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xsam_backend.evaluation.datasets.records import Record

MOST_PICTURES = 100
"""The median of more would hardly be another."""


def typical_sizes(records: Sequence[Record]) -> dict[str, float]:
    """Label -> longer side of its objects, their median, as share of the picture's longer side.

    Args:
        records: of which at most MOST_PICTURES are looked at, evenly spread.

    Raises:
        DatasetError: a picture can't be read.
    """
    step = max(len(records) / MOST_PICTURES, 1.0)
    shares: dict[str, list[float]] = {}
    for number in range(min(len(records), MOST_PICTURES)):
        truth = records[int(number * step)].load()
        for index, name in enumerate(truth.names):
            ys, xs = truth.masks[index].nonzero()
            if truth.is_thing[index] and not truth.is_crowd[index] and len(xs):
                longer = max(int(np.ptp(xs)), int(np.ptp(ys))) + 1
                shares.setdefault(name, []).append(longer / max(truth.size_hw))
    return {name: float(np.median(found)) for name, found in sorted(shares.items())}
