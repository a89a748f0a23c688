"""The stream of a brush RLE, read: where its blocks begin, and the runs of alpha in them.

Where a block begins is known only once the one before it is read. So many readers start at once, each somewhere in
the stream, and soon most are in step with the true blocks: what they pass is kept, and one walk along the stream
strings their stretches together, reading on its own only where they were out of step, and over literals.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HEADER_BITS = 32 + 5 + 4 * 4

WORD_BITS = 8
"""Of a value: a channel's byte. The header has a field for it, but Label Studio writes nothing else."""

_LEAST_STRETCH_BITS = 256

Positions = NDArray[np.int64]
"""In a stream, in bits, rising."""


class BrushStream:
    """A brush RLE's bits; ``total`` is how many values it says to hold.

    Raises:
        ValueError: not a list of bytes, too short for the header, or values of another size than a byte.
    """

    def __init__(self, values: Sequence[int]) -> None:
        try:
            data = bytes(values)
        except (TypeError, ValueError) as error:
            raise ValueError("brush RLE: expected a list of whole numbers in 0..255") from error
        if 8 * len(data) < HEADER_BITS:
            raise _cut_off()
        header = int.from_bytes(data[:8].ljust(8, b"\0"), "big") >> (64 - HEADER_BITS)
        self.total = header >> 21
        word_bits = (header >> 16 & 31) + 1
        if word_bits != WORD_BITS:
            raise ValueError(
                f"brush RLE of values of {word_bits} bits, expected {WORD_BITS}: it is damaged, or not Label Studio's"
            )
        self._field_bits = np.array([(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)], np.int64)
        # Even if every value has a block of its own, nothing behind counts.
        most_bits = HEADER_BITS + self.total * (3 + int(self._field_bits.max()) + WORD_BITS)
        data = data[: -(-most_bits // 8)]
        self._bits = 8 * len(data)
        self._padded = data + bytes(16)
        # 64 bits from each byte on: a block's head, its count and its first word, wherever they begin in the byte.
        self._windows: NDArray[np.uint64] = np.ndarray((len(data) + 8,), ">u8", self._padded, strides=(1,))

    def alpha_runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ends of runs, counted in values, and the runs' values; where only other channels change there is no run.

        Raises:
            ValueError: the stream ends before ``total`` values are out.
        """
        starts = self._blocks()
        heads = self._bits_at(starts, 3)
        field_bits = self._field_bits[heads & 3]
        counts = self._bits_at(starts + 3, field_bits) + 1
        ends = np.cumsum(counts)
        used = int(np.searchsorted(ends, self.total)) + 1
        if used > len(ends):
            raise _cut_off()
        starts, heads, ends, counts = starts[:used], heads[:used], ends[:used], counts[:used]
        counts[-1] -= ends[-1] - self.total
        ends[-1] = self.total
        is_run, words = heads >= 4, starts + 3 + field_bits[:used]
        if words[-1] + WORD_BITS * (1 if is_run[-1] else counts[-1]) > self._bits:
            raise _cut_off()
        values = self._bits_at(words[is_run], WORD_BITS)
        if is_run.all():
            return ends, values
        literal = ~is_run
        single_ends, singles = self._alpha_of_literals(words[literal], ends[literal], counts[literal])
        ends = ends[is_run]
        between = np.searchsorted(ends, single_ends)
        return np.insert(ends, between, single_ends), np.insert(values, between, singles)

    def _alpha_of_literals(
        self, words: Positions, ends: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of literals' words every fourth value: where it ends, and what it is."""
        begins = ends - counts
        alphas = ends // 4 - begins // 4
        number = np.arange(int(alphas.sum())) - np.repeat(np.cumsum(alphas) - alphas, alphas)
        alpha_ends = 4 * (np.repeat(begins // 4, alphas) + number + 1)
        places = np.repeat(words - WORD_BITS * begins, alphas) + WORD_BITS * (alpha_ends - 1)
        return alpha_ends, self._bits_at(places, WORD_BITS)

    def _bits_at(self, places: Positions, bits: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of so many bits, at most 32, at some places."""
        windows = self._windows[places >> 3].astype(np.uint64) << (places & 7).astype(np.uint64)
        numbers: NDArray[np.int64] = (windows >> np.asarray(64 - bits, np.uint64)).astype(np.int64)
        return numbers

    def _blocks(self) -> Positions:
        """Where blocks begin, until all values are out or the stream ends; a few more where readers passed them."""
        passed = self._likely_runs()
        runs = np.flatnonzero(passed)
        field_bits = self._field_bits[self._bits_at(runs, 3) & 3]
        afterwards = runs + 3 + field_bits + WORD_BITS
        # Values up to and with each likely run, were there no others.
        values = np.cumsum(self._bits_at(runs + 3, field_bits) + 1)
        # Stretches of likely runs, one behind the other.
        stretch_ends = np.append(np.flatnonzero(afterwards[:-1] != runs[1:]), len(runs) - 1)
        # Memory views, because numbers are read one by one.
        is_known, known, last_of_stretch = passed.data, runs.data, stretch_ends.data
        heads = np.ndarray((len(self._windows),), ">u4", self._padded, strides=(1,)).astype(np.uint32).data
        sizes = self._field_bits.tolist()
        place, missing = HEADER_BITS, self.total
        found = array("q")
        while missing > 0 and place < self._bits:
            head = heads[place >> 3] << (place & 7)
            size = sizes[head >> 29 & 3]
            count = ((head & 0x1FFFFFFF) >> (29 - size)) + 1
            missing -= count
            if not head & 0x80000000:
                found.append(place)
                place += 3 + size + WORD_BITS * count
            elif is_known[place]:
                index = bisect_left(known, place)
                last = last_of_stretch[bisect_left(last_of_stretch, index)]
                found.frombytes(known[index : last + 1].tobytes())
                missing -= int(values[last] - values[index])
                place = int(afterwards[last])
            else:
                found.append(place)
                place += 3 + size + WORD_BITS
        return np.frombuffer(found, np.int64)

    def _likely_runs(self) -> NDArray[np.bool_]:
        """Of each bit, whether a run seems to begin there, read from many places at once.

        A reader that comes to what would be literals goes on to the next set bit: masks have none, but each second of
        their runs ends in zeros, with a run behind.
        """
        stretch = max(int((8 * self._bits) ** 0.5), _LEAST_STRETCH_BITS)
        places = np.arange(HEADER_BITS, self._bits, stretch)
        ends = np.minimum(places + stretch, self._bits)
        octets = np.arange(256)
        is_run = octets >= 128
        zeros = 8 - np.frexp(octets)[1]
        steps = np.where(is_run, 3 + self._field_bits[octets >> 5 & 3] + WORD_BITS, zeros)
        data = np.frombuffer(self._padded, np.uint8).astype(np.uint16)
        pairs = data[:-1] << 8 | data[1:]
        passed = np.zeros(self._bits, np.bool_)
        while (places < ends).any():
            octet = pairs[places >> 3] >> (8 - (places & 7)) & 255
            passed[places[is_run[octet] & (places < ends)]] = True
            places = np.minimum(places + steps[octet], self._bits)
        return passed


def _cut_off() -> ValueError:
    return ValueError("brush RLE: the stream ends before all pixels are out: it is damaged or cut off")
