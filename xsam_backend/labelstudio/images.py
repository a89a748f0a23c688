"""From what a task's data says to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_backend.labelstudio.client import LabelStudioClient
from xsam_backend.labelstudio.fetching import FetchPolicy

__all__ = ["FetchPolicy", "FetchedImage", "ImageSource"]


@dataclass(frozen=True, eq=False)
class FetchedImage:
    """A picture as the annotator sees it.

    Attributes:
        pixels: uint8 (H, W, 3) RGB, EXIF orientation applied, read-only.
        sha256: hex digest of the encoded bytes: the picture's name in caches.
        size_hw: (height, width) in pixels.
        format: JPEG, PNG, WEBP, BMP, GIF or TIFF.
    """

    pixels: NDArray[np.uint8]
    sha256: str
    size_hw: tuple[int, int]
    format: str


class ImageSource:
    """Fetches pictures of tasks. Safe to share between threads."""

    def __init__(self, policy: FetchPolicy, client: LabelStudioClient | None = None) -> None:
        self.policy = policy
        self._client = client

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        """The picture that ``url``, a value of a task's data, stands for.

        Raises:
            ImageError: it may not be had or cannot be read; the message says why and what to do.
        """
        raise NotImplementedError
