"""Pictures that were fetched a moment ago: an annotator's clicks are about one picture, which need not come through
the network and be decoded for each of them."""

from __future__ import annotations

import hashlib
import threading
from typing import Protocol

from cachetools import TTLCache

from xsam_backend.labelstudio.images import FetchedImage

KEPT_S = 300.0
"""So long a picture counts as the one that is at its address. Few ever change, and none while it's labelled."""


class Images(Protocol):
    """What is needed of :class:`~xsam_backend.labelstudio.images.ImageSource`."""

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        """The picture behind a task's value."""


class RecentImages:
    """Hands pictures on, and remembers the last ones. Safe to use from several threads.

    Args:
        capacity_bytes: of decoded pictures. A larger one is handed on and not kept.
    """

    def __init__(self, images: Images, capacity_bytes: int, kept_s: float = KEPT_S) -> None:
        self._images = images
        self._lock = threading.Lock()
        self._recent: TTLCache[tuple[bytes, int | None], FetchedImage] = TTLCache(
            capacity_bytes, kept_s, getsizeof=lambda image: image.pixels.nbytes
        )

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        """See ``ImageSource.fetch``. A value is known with its task: behind a cloud address may be what only that
        task's storage has. Of the value itself only a hash is kept: a data URI is as large as its picture, and an
        address may have a signature in it."""
        key = (hashlib.sha256(url.encode("utf-8", "surrogatepass")).digest(), task_id)
        with self._lock:
            known = self._recent.get(key)
        if known is not None:
            return known
        fetched = self._images.fetch(url, task_id)
        fetched.pixels.setflags(write=False)
        with self._lock:
            if fetched.pixels.nbytes <= self._recent.maxsize:
                self._recent[key] = fetched
        return fetched
