"""Windows of one picture, encoded a few together when a question first looks through them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xsam_backend.model.between_looks import between_looks
from xsam_backend.model.encoded import Encoded
from xsam_backend.model.kept_cells import KeptCells
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.small_passes import together
from xsam_backend.model.tiles import Window

TOGETHER = 4
"""So many windows are encoded and asked about at once. More is no faster on a CPU, and takes memory."""

CLOSE_UP_BYTES = 64 * 2**20
"""Close-ups of one picture are kept within this, those looked at last: the next click is often on the same object."""


class Batch(NamedTuple):
    """Some windows, what the model made of them, and where each lies in the padded frame."""

    windows: tuple[Window, ...]
    encoded: Encoded
    frames: tuple[PictureFrame, ...]


class CloseUp(NamedTuple):
    """One window alone, with all that questions about it need.

    Attributes:
        batch: of this window.
        pixels: uint8 (h, w, 3), the window.
        cells: of it.
    """

    batch: Batch
    pixels: NDArray[np.uint8]
    cells: KeptCells


class CloserLooks:
    """Closer looks at one picture. Safe to use from several threads.

    Args:
        pixels: uint8 (H, W, 3), the picture.
        encode: encodes a few windows' pixels.
        keeps_all: whatever was encoded is kept for the next question, not only some close-ups.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        encode: Callable[[Sequence[NDArray[np.uint8]]], tuple[Encoded, tuple[PictureFrame, ...]]],
        *,
        keeps_all: bool,
    ) -> None:
        self._pixels, self._encode, self._keeps_all = pixels, encode, keeps_all
        self._kept: list[Batch] = []
        self._close_ups: list[CloseUp] = []
        self._lock = threading.Lock()

    def through(self, windows: Sequence[Window]) -> Iterator[Batch]:
        """All these windows, batch by batch."""
        most = together(TOGETHER)
        for start in range(0, len(windows), most):
            if start:
                between_looks.get()()
            yield self._batch(tuple(windows[start : start + most]))

    def at(self, window: Window) -> tuple[Encoded, int]:
        """One window: a batch that has it, and its place there."""
        for batch in self._kept:
            if window in batch.windows:
                return batch.encoded, batch.windows.index(window)
        return self._batch((window,)).encoded, 0

    def close_up(self, window: Window) -> CloseUp:
        """One window alone, of which further questions are likely."""
        with self._lock:
            known = next((one for one in self._close_ups if one.batch.windows == (window,)), None)
        close_up = self._close_up(window) if known is None else known
        with self._lock:
            others = [one for one in self._close_ups if one.batch.windows != (window,)]
            self._close_ups = _within([*others, close_up], CLOSE_UP_BYTES)
        return close_up

    def _close_up(self, window: Window) -> CloseUp:
        batch = self._batch((window,))
        pixels = np.ascontiguousarray(self._pixels[window])
        cells = KeptCells(batch.encoded.features.pixels.mask_features[0], pixels, batch.frames[0])
        return CloseUp(batch, pixels, cells)

    @property
    def nbytes(self) -> int:
        """Bytes that are kept; without the picture's own."""
        with self._lock:
            close_ups = list(self._close_ups)
            kept = {id(batch): batch for batch in (*self._kept, *(one.batch for one in close_ups))}
        beside = sum(one.pixels.nbytes + one.cells.nbytes for one in close_ups)
        return beside + sum(batch.encoded.nbytes for batch in kept.values())

    def _batch(self, windows: tuple[Window, ...]) -> Batch:
        for batch in self._kept:
            if batch.windows == windows:
                return batch
        batch = Batch(windows, *self._encode([np.ascontiguousarray(self._pixels[window]) for window in windows]))
        if self._keeps_all:
            self._kept.append(batch)
        return batch


def _within(close_ups: Sequence[CloseUp], most_bytes: int) -> list[CloseUp]:
    """The last ones, as many as fit, also when further clicks have made their cells."""
    kept: list[CloseUp] = []
    for one in reversed(close_ups):
        most_bytes -= one.batch.encoded.nbytes + one.pixels.nbytes + one.cells.nbytes_made
        if most_bytes < 0:
            break
        kept.insert(0, one)
    return kept
