"""Run-length codes of masks: Label Studio's *brush RLE* and *COCO RLE*. They have nothing in common but the name.

Brush RLE is a stream of bits in a list of byte values, most significant bit first. It holds the picture's RGBA bytes
row by row, so each mask value four times. Both directions work on runs; the four copies of a pixel never exist.

    32 bits: N = H * W * 4 | 5 bits: word size - 1 | 4 x 4 bits: the four field sizes - 1
    blocks until N values are out:
    1 bit: 1 = run, 0 = literals | 2 bits: which field size | that many bits: count - 1 | a run's word, or count words

COCO RLE counts run lengths column by column, beginning with zeros; "compressed" packs the counts into text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.masks import Mask

_FIELD_BITS = np.array([3, 4, 8, 16])
_LONGEST_RUN = 1 << 16
_HEADER_BITS = 32 + 5 + 4 * 4
_OPAQUE = 128
"""Alpha from here on counts as painted: the half of an antialiased rim that lies more inside than outside."""


def mask_to_brush_rle(mask: Mask) -> list[int]:
    """Brush RLE of a bool (H, W) mask, values 0 and 255, as a list of Python ints in 0..255.

    ``mask_to_brush_rle(np.zeros((1, 2), bool))`` -> ``[0, 0, 0, 8, 57, 27, 252, 224, 0]``: one run of eight zeros.
    """
    starts, ends = _runs(mask.ravel())
    values = mask.ravel()[starts]
    # Runs longer than the longest field are split; all but the last piece of a run have full length.
    lengths = 4 * (ends - starts)
    pieces = -(-lengths // _LONGEST_RUN)
    counts = np.full(int(pieces.sum()), _LONGEST_RUN)
    counts[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST_RUN
    field = np.searchsorted(1 << _FIELD_BITS, counts)
    words = np.repeat(np.where(values, 255, 0), pieces)
    codes = (((4 + field) << _FIELD_BITS[field]) | (counts - 1)) << 8 | words
    bits = np.concatenate([_header_bits(4 * mask.size), _code_bits(codes, 3 + _FIELD_BITS[field] + 8)])
    encoded: list[int] = np.packbits(bits).tolist()
    return encoded


def brush_rle_to_mask(brush_rle: Sequence[int], size_hw: tuple[int, int]) -> Mask:
    """bool (H, W) from a brush RLE: True where alpha is at least 128.

    Raises:
        ValueError: not a list of bytes, the stream ends early, or it holds another number of pixels than ``size_hw``.
    """
    reader = _BitReader(brush_rle)
    expected = 4 * size_hw[0] * size_hw[1]
    total = reader.read(32)
    if total != expected:
        raise ValueError(
            f"brush RLE of {total} values, expected {expected} = 4 x {size_hw[0]} x {size_hw[1]}: "
            "it belongs to a picture of another size"
        )
    word_bits = reader.read(5) + 1
    field_bits = [reader.read(4) + 1 for _ in range(4)]
    values: list[int] = []
    ends: list[int] = []
    end = 0
    while end < total:
        is_run = reader.read(1)
        count = reader.read(field_bits[reader.read(2)]) + 1
        if is_run:
            end += count
            values.append(reader.read(word_bits))
            ends.append(end)
        else:
            count = min(count, total - end)
            values.extend(reader.read_many(word_bits, count))
            ends.extend(range(end + 1, end + count + 1))
            end += count
    # Alpha is every fourth value, so a run that ends after e values has completed e // 4 pixels.
    pixels = np.minimum(np.array(ends, np.int64), total) // 4
    painted = np.array(values, np.int64) >= _OPAQUE
    return np.repeat(painted, np.diff(pixels, prepend=0)).reshape(size_hw)


def mask_to_coco_rle(mask: Mask, compressed: bool = True) -> dict[str, object]:
    """``{"size": [H, W], "counts": text}``, or a list of counts if not ``compressed``. Plain JSON types."""
    column_major = mask.ravel(order="F")
    starts, ends = _runs(column_major)
    counts = ends - starts
    if column_major[0]:
        counts = np.concatenate([[0], counts])
    return {"size": list(mask.shape), "counts": _pack_counts(counts) if compressed else counts.tolist()}


def coco_rle_to_mask(coco_rle: Mapping[str, object]) -> Mask:
    """bool (H, W) from a COCO RLE, compressed (str or bytes) or not.

    Raises:
        ValueError: no size or counts, or counts that do not add up to the size.
    """
    (height, width), lengths = _read_coco_rle(coco_rle)
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.ascontiguousarray(flat.reshape((width, height)).T)


def coco_rle_area(coco_rle: Mapping[str, object]) -> int:
    """Pixels of a COCO RLE's mask, without painting it.

    Raises:
        ValueError: as ``coco_rle_to_mask``.
    """
    return int(_read_coco_rle(coco_rle)[1][1::2].sum())


def _read_coco_rle(coco_rle: Mapping[str, object]) -> tuple[tuple[int, int], NDArray[np.int64]]:
    """(height, width), and the lengths of the runs, of zeros first."""
    size, counts = coco_rle.get("size"), coco_rle.get("counts")
    if (
        not isinstance(size, Sequence)
        or len(size) != 2
        or not all(isinstance(side, int) and side > 0 for side in size)
    ):
        raise ValueError(f"COCO RLE: expected size [H, W], got {size!r}")
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    if isinstance(counts, bytes):
        lengths = _unpack_counts(counts)
    elif isinstance(counts, Sequence):
        try:
            lengths = np.array([int(count) for count in counts], np.int64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"COCO RLE: expected whole numbers as counts, got something else ({error})") from error
    else:
        raise ValueError(f"COCO RLE: expected counts as text or a list, got {type(counts).__name__}")
    height, width = size
    # Each alone, too: a sum of huge ones comes round to anything.
    if (lengths < 0).any() or (lengths > height * width).any() or lengths.sum() != height * width:
        raise ValueError(
            f"COCO RLE: the counts add up to {lengths.sum()}, expected {height} x {width}: it is damaged"
        )
    return (height, width), lengths


def _runs(flat: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and (exclusive) ends of the runs of equal values in a flat array."""
    changes = np.flatnonzero(flat[1:] != flat[:-1]).astype(np.int64) + 1
    return np.concatenate([[0], changes]), np.concatenate([changes, [flat.size]])


def _header_bits(total: int) -> NDArray[np.uint8]:
    fields = [(total, 32), (8 - 1, 5), *((int(bits) - 1, 4) for bits in _FIELD_BITS)]
    text = "".join(format(number, f"0{width}b") for number, width in fields)
    return np.frombuffer(text.encode(), np.uint8) - ord("0")


def _code_bits(codes: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The codes' bits one after the other; ``lengths`` says how many each has, at most 32."""
    left_aligned = (codes << (32 - lengths)).astype(">u4")
    bits = np.unpackbits(left_aligned.view(np.uint8)).reshape(-1, 32)
    return bits[np.arange(32) < lengths[:, None]]


def _pack_counts(counts: NDArray[np.int64]) -> str:
    """COCO's text: differences to the count before last, in groups of five bits, low first, plus 48."""
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    text = bytearray()
    for number in numbers.tolist():
        more = True
        while more:
            group = number & 31
            number >>= 5
            more = number != (-1 if group & 16 else 0)
            text.append(group + 48 + (32 if more else 0))
    return text.decode("ascii")


def _unpack_counts(text: bytes) -> NDArray[np.int64]:
    groups = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(groups) or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError("COCO RLE: the compressed counts are damaged or cut off")
    last = np.flatnonzero((groups & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    sizes = last - first + 1
    if sizes.max() > 8:
        raise ValueError("COCO RLE: a count is larger than any picture")
    place = np.arange(len(groups)) - np.repeat(first, sizes)
    numbers = np.add.reduceat((groups & 31) << (5 * place), first)
    numbers -= np.where(groups[last] & 16, np.int64(1) << (5 * sizes), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


class _BitReader:
    """Reads numbers of a few bits from bytes, most significant bit first."""

    def __init__(self, values: Sequence[int]) -> None:
        try:
            self._data = bytes(values)
        except (TypeError, ValueError) as error:
            raise ValueError("brush RLE: expected a list of whole numbers in 0..255") from error
        self._position = 0

    def read(self, bits: int) -> int:
        """The next number of ``bits``."""
        start, self._position = self._position, self._position + bits
        self._check()
        first, last = start // 8, -(-self._position // 8)
        window = int.from_bytes(self._data[first:last], "big")
        return window >> (8 * last - self._position) & ((1 << bits) - 1)

    def read_many(self, bits: int, count: int) -> list[int]:
        """``count`` numbers of ``bits`` each."""
        start, self._position = self._position, self._position + bits * count
        self._check()
        piece = np.frombuffer(self._data[start // 8 : -(-self._position // 8)], np.uint8)
        flat = np.unpackbits(piece)[start % 8 :][: bits * count].reshape(count, bits)
        numbers: list[int] = (flat @ (1 << np.arange(bits - 1, -1, -1, dtype=np.int64))).tolist()
        return numbers

    def _check(self) -> None:
        if self._position > 8 * len(self._data):
            raise ValueError("brush RLE: the stream ends before all pixels are out: it is damaged or cut off")
