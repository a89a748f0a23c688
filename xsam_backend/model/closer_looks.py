"""Windows of one picture, encoded a few together when a question first looks through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xsam_backend.model.encoded import Encoded
from xsam_backend.model.postprocess import PictureFrame
from xsam_backend.model.tiles import Window

TOGETHER = 4
"""So many windows are encoded and asked about at once. More is no faster on a CPU, and takes memory."""


class Batch(NamedTuple):
    """Some windows, what the model made of them, and where each lies in the padded frame."""

    windows: tuple[Window, ...]
    encoded: Encoded
    frames: tuple[PictureFrame, ...]


class CloserLooks:
    """Closer looks at one picture.

    Args:
        pixels: uint8 (H, W, 3), the picture.
        encode: encodes a few windows' pixels.
        keeps: what was encoded is kept for the next question; one question alone looks through each window once.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        encode: Callable[[Sequence[NDArray[np.uint8]]], tuple[Encoded, tuple[PictureFrame, ...]]],
        *,
        keeps: bool,
    ) -> None:
        self._pixels, self._encode, self._keeps = pixels, encode, keeps
        self._kept: list[Batch] = []

    def through(self, windows: Sequence[Window]) -> Iterator[Batch]:
        """All these windows, batch by batch."""
        for start in range(0, len(windows), TOGETHER):
            yield self._batch(tuple(windows[start : start + TOGETHER]))

    def at(self, window: Window) -> tuple[Encoded, int]:
        """One window: a batch that has it, and its place there."""
        for batch in self._kept:
            if window in batch.windows:
                return batch.encoded, batch.windows.index(window)
        return self._batch((window,)).encoded, 0

    def _batch(self, windows: tuple[Window, ...]) -> Batch:
        for batch in self._kept:
            if batch.windows == windows:
                return batch
        batch = Batch(windows, *self._encode([np.ascontiguousarray(self._pixels[window]) for window in windows]))
        if self._keeps:
            self._kept.append(batch)
        return batch
