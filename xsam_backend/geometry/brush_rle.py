"""Label Studio's *brush RLE* of masks: a stream of bits in a list of byte values, most significant bit first.

It holds the picture's RGBA bytes row by row, so each mask value four times. Both directions work on runs; the four
copies of a pixel never exist.

    32 bits: N = H * W * 4 | 5 bits: word size - 1 | 4 x 4 bits: the four field sizes - 1
    blocks until N values are out:
    1 bit: 1 = run, 0 = literals | 2 bits: which field size | that many bits: count - 1 | a run's word, or count words
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.brush_stream import HEADER_BITS, WORD_BITS, BrushStream
from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.runs import Lengths, mask_to_runs

_FIELD_BITS = np.array([3, 4, 8, 16])
_LONGEST_RUN = 1 << 16
_AT_ONCE = 1 << 15
"""Runs whose bits are made together: few enough for a processor's cache, and even, so that zeros come first."""

_OPAQUE = 128
"""Alpha from here on counts as painted: the half of an antialiased rim that lies more inside than outside."""


def mask_to_brush_rle(mask: Mask) -> list[int]:
    """Brush RLE of a bool (H, W) mask, values 0 and 255, as a list of Python ints in 0..255.

    ``mask_to_brush_rle(np.zeros((1, 2), bool))`` -> ``[0, 0, 0, 8, 57, 27, 252, 224, 0]``: one run of eight zeros.
    """
    runs = mask_to_runs(mask)
    header = 4 * mask.size
    for number, bits in ((WORD_BITS - 1, 5), *((size - 1, 4) for size in _FIELD_BITS.tolist())):
        header = header << bits | number
    pieces = [(np.array([header]), np.array([HEADER_BITS]))]
    pieces += [_run_codes(runs[start : start + _AT_ONCE]) for start in range(0, len(runs), _AT_ONCE)]
    return list(_packed(pieces))


def brush_rle_to_mask(brush_rle: Sequence[int], size_hw: tuple[int, int]) -> Mask:
    """bool (H, W) from a brush RLE: True where alpha is at least 128.

    Raises:
        ValueError: not a list of bytes, the stream ends early, or it holds another number of pixels than ``size_hw``.
    """
    ends, is_painted = _pixel_runs(brush_rle, size_hw)
    return np.repeat(is_painted, np.diff(ends, prepend=0)).reshape(size_hw)


def brush_rle_to_crop(brush_rle: Sequence[int], size_hw: tuple[int, int]) -> CroppedMask:
    """The same; only its box is ever in memory."""
    ends, is_painted = _pixel_runs(brush_rle, size_hw)
    starts = np.concatenate([[0], ends[:-1]])
    painted = is_painted & (starts < ends)
    if not painted.any():
        return CroppedMask(np.zeros((0, 0), np.bool_), (0, 0), size_hw)
    width = size_hw[1]
    first, last = starts[painted], ends[painted] - 1
    (top, bottom), is_in_one_row = (int(first[0]) // width, int(last[-1]) // width), first // width == last // width
    left, right = (
        (0, width - 1) if not is_in_one_row.all() else (int((first % width).min()), int((last % width).max()))
    )
    # Where each run ends in the crop, whose rows are shorter: what lies beside a row counts to its rim.
    rows, columns = ends // width - top, ends % width - left
    length = right + 1 - left
    cropped_ends = np.clip(rows * length + np.clip(columns, 0, length), 0, (bottom + 1 - top) * length)
    crop = np.repeat(is_painted, np.diff(cropped_ends, prepend=0)).reshape(-1, length)
    return CroppedMask(crop, (left, top), size_hw)


def _pixel_runs(brush_rle: Sequence[int], size_hw: tuple[int, int]) -> tuple[Lengths, NDArray[np.bool_]]:
    """Ends of runs, counted in pixels, and whether they are painted. Raises as ``brush_rle_to_mask``."""
    stream = BrushStream(brush_rle)
    expected = 4 * size_hw[0] * size_hw[1]
    if stream.total != expected:
        raise ValueError(
            f"brush RLE of {stream.total} values, expected {expected} = 4 x {size_hw[0]} x {size_hw[1]}: "
            "it belongs to a picture of another size"
        )
    ends, alpha = stream.alpha_runs()
    # Alpha is every fourth value, so a run that ends after e values has completed e // 4 pixels.
    return ends // 4, alpha >= _OPAQUE


def _run_codes(runs: Lengths) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The code of each of some runs, of zeros first, and how many bits it has; of long runs several."""
    counts: Lengths = 4 * runs
    words: NDArray[np.int64] = np.zeros(len(runs), np.int64)
    words[1::2] = 255
    pieces = -(-counts // _LONGEST_RUN)
    if (pieces != 1).any():  # too long for a field, or, the first one, without length
        last = np.cumsum(pieces)[pieces > 0] - 1
        rest = (counts - (pieces - 1) * _LONGEST_RUN)[pieces > 0]
        words = np.repeat(words, pieces)
        counts = np.full(len(words), _LONGEST_RUN)
        counts[last] = rest  # all but the last piece of a run have full length
    field = np.searchsorted(1 << _FIELD_BITS, counts)
    field_bits = _FIELD_BITS[field]
    return (((4 + field) << field_bits) | (counts - 1)) << WORD_BITS | words, 3 + WORD_BITS + field_bits


def _packed(pieces: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> bytes:
    """All codes' bits one after the other; each has fewer than 64."""
    packed, begun, filled = [], np.int64(0), 0
    for codes, bits in pieces:
        ends = filled + np.cumsum(bits)
        starts = ends - bits
        free = 64 - (starts & 63) - bits  # of the word that a code begins in; below zero: so many go to the next
        last = np.append(np.flatnonzero(np.diff(starts >> 6)), len(codes) - 1)  # to begin in a word
        over = np.minimum(free[last], 0)
        # No two codes share a bit, so those of one word can be added up: all at once, overflow of the sums included.
        placed = codes << np.maximum(free, 0)
        placed[last] >>= -over
        words = np.append(np.diff(np.cumsum(placed)[last], prepend=0), 0)
        words[1:] += np.where(over < 0, codes[last] << (64 + over), 0)
        words[0] += begun
        filled = int(ends[-1])
        full = filled >> 6
        packed.append(words[:full].astype(">i8").tobytes())
        begun, filled = words[full], filled & 63
    packed.append(int(begun).to_bytes(8, "big", signed=True)[: -(-filled // 8)])
    return b"".join(packed)
