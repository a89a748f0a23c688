"""*COCO RLE* of masks: lengths of runs column by column, beginning with zeros, as a list or packed into text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.runs import Lengths, mask_to_runs, runs_to_mask

MOST_PX = 2**30
"""Of a mask that is read: more than any picture has that the service takes."""

_MOST_GROUPS = 8
"""Of five bits, in a number; more is larger than any picture."""


def mask_to_coco_rle(mask: Mask) -> dict[str, object]:
    """``{"size": [H, W], "counts": text}``: plain JSON types."""
    return {"size": list(mask.shape), "counts": _pack_counts(mask_to_runs(mask, by_columns=True))}


def coco_rle_to_mask(coco_rle: Mapping[str, object]) -> Mask:
    """bool (H, W) from a COCO RLE, compressed (str or bytes) or not.

    Raises:
        ValueError: no size or counts, or counts that do not add up to the size.
    """
    size_hw, runs = _read_coco_rle(coco_rle)
    return runs_to_mask(runs, size_hw, by_columns=True)


def coco_rle_area(coco_rle: Mapping[str, object]) -> int:
    """Pixels of a COCO RLE's mask, without painting it.

    Raises:
        ValueError: as ``coco_rle_to_mask``.
    """
    return int(_read_coco_rle(coco_rle)[1][1::2].sum())


def _read_coco_rle(coco_rle: Mapping[str, object]) -> tuple[tuple[int, int], Lengths]:
    """(height, width), and the lengths of the runs, of zeros first."""
    size, counts = coco_rle.get("size"), coco_rle.get("counts")
    if (
        not isinstance(size, Sequence)
        or len(size) != 2
        or not all(type(side) is int and 0 < side <= MOST_PX for side in size)
        or size[0] * size[1] > MOST_PX
    ):
        raise ValueError(f"COCO RLE: expected size [H, W] of at most {MOST_PX} pixels, got {str(size)[:80]}")
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    if isinstance(counts, bytes):
        lengths = _unpack_counts(counts)
    elif isinstance(counts, Sequence):
        for count in counts:
            if type(count) is not int or not 0 <= count <= MOST_PX:
                raise ValueError(f"COCO RLE: expected whole numbers of pixels as counts, got {str(count)[:80]}")
        lengths = np.array(counts, np.int64)
    else:
        raise ValueError(f"COCO RLE: expected counts as text or a list, got {type(counts).__name__}")
    height, width = size
    # Each alone, too: a sum of huge ones comes round to anything.
    if (lengths < 0).any() or (lengths > height * width).any() or lengths.sum() != height * width:
        raise ValueError(
            f"COCO RLE: the counts add up to {lengths.sum()}, expected {height} x {width}: it is damaged"
        )
    return (height, width), lengths


def _pack_counts(counts: Lengths) -> str:
    """COCO's text: differences to the count before last, in groups of five bits, low first, plus 48.

    Each group but a number's last has 32 on top. A number ends where the rest of it is but the last group's sign.
    """
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    magnitudes = np.where(numbers < 0, ~numbers, numbers)
    sizes: Lengths = np.ones(len(numbers), np.int64)
    for groups in range(1, _MOST_GROUPS):
        longer = magnitudes >= 1 << (5 * groups - 1)
        if not longer.any():
            break
        sizes += longer
    first: Lengths = np.cumsum(sizes) - sizes
    text = np.empty(int(sizes.sum()), np.uint8)
    for group in range(int(sizes.max())):
        text[first + group] = (numbers & 31) + 48 + 32 * (sizes > group + 1)
        going_on = sizes > group + 1
        numbers, sizes, first = numbers[going_on] >> 5, sizes[going_on], first[going_on]
    return text.tobytes().decode("ascii")


def _unpack_counts(text: bytes) -> NDArray[np.int64]:
    groups = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(groups) or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError("COCO RLE: the compressed counts are damaged or cut off")
    last = np.flatnonzero((groups & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    sizes = last - first + 1
    if sizes.max() > _MOST_GROUPS:
        raise ValueError("COCO RLE: a count is larger than any picture")
    place = np.arange(len(groups)) - np.repeat(first, sizes)
    numbers = np.add.reduceat((groups & 31) << (5 * place), first)
    numbers -= np.where(groups[last] & 16, np.int64(1) << (5 * sizes), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
