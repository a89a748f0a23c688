"""What the model makes of pictures: everything that questions about them need, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_backend.model.language import Prefix
from xsam_backend.model.tensor_memory import bytes_alive
from xsam_backend.model.xsam import ImageFeatures


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the model made of B pictures.

    Attributes:
        features: the encoders' and pixel decoder's output.
        prefix: the language model's keys and values up to and including each picture. None where they are kept apart,
            because they are by far the most of it: questions can't be asked then.
    """

    features: ImageFeatures
    prefix: Prefix | None

    def __len__(self) -> int:
        return len(self.features.tokens)

    @property
    def whole_prefix(self) -> Prefix:
        """The prefix, which must be there."""
        assert self.prefix is not None, "expected a state with its prefix: put it in before asking"
        return self.prefix

    @property
    def nbytes(self) -> int:
        """Bytes that this keeps alive."""
        return bytes_alive((*self.features.tensors, *(self.prefix.tensors if self.prefix else ())))
