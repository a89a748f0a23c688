"""What is handed in and out for a picture that questions are asked about."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xsam_backend.model.closer_looks import CloserLooks
from xsam_backend.model.encoded import Encoded
from xsam_backend.model.kept_cells import KeptCells
from xsam_backend.model.language import Prefix
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.picture_vector import picture_vector


@dataclass(frozen=True, eq=False)
class ImageState:
    """All that was computed from one picture.

    Attributes:
        encoded: of this picture alone.
        frame: where the picture lies in the padded frame.
        pixels: uint8 (H, W, 3), the picture itself, for close-ups.
        cells: of it, which further clicks are told by.
        looks: at windows of it.
    """

    encoded: Encoded
    frame: PictureFrame
    pixels: NDArray[np.uint8]
    cells: KeptCells
    looks: CloserLooks

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the picture in pixels."""
        return self.frame.size_hw

    @property
    def vector(self) -> NDArray[np.float32]:
        """float32 (64,), of length 1: what the picture looks like, to compare with those of others."""
        return picture_vector(self.encoded.features.summary[0])

    def with_prefix(self, prefix: Prefix) -> ImageState:
        """The same, ready to be asked. Closer looks and cells that either keeps, both have."""
        return replace(self, encoded=Encoded(self.encoded.features, prefix))

    @property
    def nbytes(self) -> int:
        """Bytes that the state keeps alive; may grow while questions are asked."""
        return self.pixels.nbytes + self.encoded.nbytes + self.cells.nbytes + self.looks.nbytes
