"""Label Studio's *brush RLE* of masks: a stream of bits in a list of byte values, most significant bit first.

It holds the picture's RGBA bytes row by row, so each mask value four times. Both directions work on runs; the four
copies of a pixel never exist.

    32 bits: N = H * W * 4 | 5 bits: word size - 1 | 4 x 4 bits: the four field sizes - 1
    blocks until N values are out:
    1 bit: 1 = run, 0 = literals | 2 bits: which field size | that many bits: count - 1 | a run's word, or count words
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.brush_stream import HEADER_BITS, BrushStream
from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.runs import mask_to_runs

_FIELD_BITS = np.array([3, 4, 8, 16])
_LONGEST_RUN = 1 << 16
_WORD_BITS = 8
_OPAQUE = 128
"""Alpha from here on counts as painted: the half of an antialiased rim that lies more inside than outside."""


def mask_to_brush_rle(mask: Mask) -> list[int]:
    """Brush RLE of a bool (H, W) mask, values 0 and 255, as a list of Python ints in 0..255.

    ``mask_to_brush_rle(np.zeros((1, 2), bool))`` -> ``[0, 0, 0, 8, 57, 27, 252, 224, 0]``: one run of eight zeros.
    """
    lengths = 4 * mask_to_runs(mask)
    values = np.where(np.arange(len(lengths)) % 2, 255, 0)
    # Runs longer than the longest field are split; all but the last piece of a run have full length.
    pieces = -(-lengths // _LONGEST_RUN)
    counts = np.full(int(pieces.sum()), _LONGEST_RUN)
    written = pieces > 0  # the first run may have no length
    counts[np.cumsum(pieces)[written] - 1] = (lengths - (pieces - 1) * _LONGEST_RUN)[written]
    field = np.searchsorted(1 << _FIELD_BITS, counts)
    field_bits = _FIELD_BITS[field]
    codes = (((4 + field) << field_bits) | (counts - 1)) << _WORD_BITS | np.repeat(values, pieces)
    header = 4 * mask.size
    for number, bits in ((_WORD_BITS - 1, 5), *((size - 1, 4) for size in _FIELD_BITS.tolist())):
        header = header << bits | number
    return list(_packed(np.append(header, codes), np.append(HEADER_BITS, 3 + field_bits + _WORD_BITS)))


def brush_rle_to_mask(brush_rle: Sequence[int], size_hw: tuple[int, int]) -> Mask:
    """bool (H, W) from a brush RLE: True where alpha is at least 128.

    Raises:
        ValueError: not a list of bytes, the stream ends early, or it holds another number of pixels than ``size_hw``.
    """
    stream = BrushStream(brush_rle)
    expected = 4 * size_hw[0] * size_hw[1]
    if stream.total != expected:
        raise ValueError(
            f"brush RLE of {stream.total} values, expected {expected} = 4 x {size_hw[0]} x {size_hw[1]}: "
            "it belongs to a picture of another size"
        )
    ends, alpha = stream.alpha_runs()
    # Alpha is every fourth value, so a run that ends after e values has completed e // 4 pixels.
    return np.repeat(alpha >= _OPAQUE, np.diff(ends // 4, prepend=0)).reshape(size_hw)


def _packed(codes: NDArray[np.int64], bits: NDArray[np.int64]) -> bytes:
    """The codes' bits one after the other; ``bits`` says how many each has, fewer than 64."""
    ends = np.cumsum(bits)
    word = (ends - bits) >> 6
    free = 64 - ((ends - bits) & 63) - bits  # of the word that a code begins in; below zero: so many go to the next
    # No two codes share a bit, so those of one word can be added up: all at once, overflow of the sums included.
    sums = np.cumsum(np.where(free >= 0, codes << np.maximum(free, 0), codes >> np.maximum(-free, 0)))
    last = np.append(np.flatnonzero(word[1:] != word[:-1]), len(word) - 1)
    words = np.append(np.diff(sums[last], prepend=0), 0)
    words[1:] += np.where(free[last] < 0, codes[last] << (64 + np.minimum(free[last], 0)), 0)
    return words.astype(">i8").tobytes()[: -(-int(ends[-1]) // 8)]
