"""A picture is fetched once for all the clicks on it, and no longer kept than it may be."""

import time

import numpy as np
import pytest

from xsam_backend.errors import ImageError
from xsam_backend.labelstudio.images import FetchedImage
from xsam_backend.labelstudio.recent_images import RecentImages

SIDE = 10
SIZE = 3 * SIDE * SIDE


class Counted:
    """Stands in for ``ImageSource``; notes what was fetched."""

    def __init__(self) -> None:
        self.fetched: list[tuple[str, int | None]] = []

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        self.fetched.append((url, task_id))
        if "missing" in url:
            raise ImageError(f"{url}: HTTP 404")
        side = 10 * SIDE if "large" in url else SIDE
        return FetchedImage(np.zeros((side, side, 3), np.uint8), "0" * 64, (side, side), "PNG")


def test_clicks_on_one_picture_fetch_it_once() -> None:
    source = Counted()
    images = RecentImages(source, 10 * SIZE)
    first, again = (images.fetch("a", 1) for _ in range(2))
    assert first is again
    assert source.fetched == [("a", 1)]
    with pytest.raises(ValueError, match="read-only"):
        first.pixels[0, 0] = 1


@pytest.mark.parametrize(
    ("asked", "fetches", "reason"),
    [
        ([("a", 1), ("a", 2)], 2, "another task's storage may have something else under one address"),
        ([("a", 1), ("b", 1), ("c", 1), ("d", 1), ("a", 1)], 5, "there is room for three"),
        ([("a", 1), ("large", 1), ("large", 1), ("a", 1)], 3, "a large one pushes nothing out and isn't kept"),
    ],
)
def test_what_is_fetched(asked: list[tuple[str, int]], fetches: int, reason: str) -> None:
    source = Counted()
    images = RecentImages(source, 3 * SIZE)
    for url, task in asked:
        images.fetch(url, task)
    assert len(source.fetched) == fetches, reason


def test_after_a_while_it_is_fetched_anew() -> None:
    source = Counted()
    images = RecentImages(source, 10 * SIZE, kept_s=0.01)
    images.fetch("a", 1)
    time.sleep(0.02)
    images.fetch("a", 1)
    assert len(source.fetched) == 2


def test_what_cannot_be_had_is_asked_for_again() -> None:
    source = Counted()
    images = RecentImages(source, 10 * SIZE)
    for _ in range(2):
        with pytest.raises(ImageError):
            images.fetch("missing", 1)
    assert len(source.fetched) == 2


def test_no_room_keeps_nothing() -> None:
    source = Counted()
    images = RecentImages(source, 0)
    images.fetch("a", 1)
    images.fetch("a", 1)
    assert len(source.fetched) == 2
