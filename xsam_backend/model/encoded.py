"""What the model makes of pictures: everything that questions about them need, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_backend.model.language import Prefix
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
