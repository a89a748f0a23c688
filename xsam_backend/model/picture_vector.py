"""A few numbers that tell what a picture looks like: near for pictures that the frozen vision encoder finds alike."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SIZE = 64


def picture_vector(summary: Tensor) -> NDArray[np.float32]:
    """From ``ImageFeatures.summary`` of one picture, (C,), to float32 (SIZE,) of length 1.

    A random matrix that is always the same makes fewer numbers of it: distances stay about as they were (Johnson and
    Lindenstrauss, Extensions of Lipschitz mappings into a Hilbert space, 1984).
    """
    vector = summary.float().cpu().numpy() @ _matrix(len(summary))
    shortened: NDArray[np.float32] = (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
    return shortened


@cache
def _matrix(channels: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(0, SIZE**-0.5, (channels, SIZE))
