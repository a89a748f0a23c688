"""What is kept of encoded pictures: everything that questions about them need, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_backend.model.language import Prefix
from xsam_backend.model.picture_vector import picture_vector
from xsam_backend.model.postprocess import PictureFrame
from xsam_backend.model.xsam import ImageFeatures


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the model made of B pictures.

    Attributes:
        features: the encoders' and pixel decoder's output.
        prefix: the language model's keys and values up to and including each picture.
    """

    features: ImageFeatures
    prefix: Prefix

    def __len__(self) -> int:
        return len(self.features.tokens)

    @property
    def nbytes(self) -> int:
        """Bytes that this keeps alive."""
        return sum(tensor.nbytes for tensor in (*self.features.tensors, *self.prefix.tensors))


@dataclass(frozen=True, eq=False)
class ImageState:
    """All that was computed from one picture.

    Attributes:
        encoded: of this picture alone.
        frame: where the picture lies in the padded frame.
        pixels: uint8 (H, W, 3), the picture itself, for close-ups.
    """

    encoded: Encoded
    frame: PictureFrame
    pixels: NDArray[np.uint8]

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the picture in pixels."""
        return self.frame.size_hw

    @property
    def vector(self) -> NDArray[np.float32]:
        """float32 (64,), of length 1: what the picture looks like, to compare with those of others."""
        return picture_vector(self.encoded.features.summary[0])

    @property
    def nbytes(self) -> int:
        """Bytes that the state keeps alive."""
        return self.pixels.nbytes + self.encoded.nbytes
