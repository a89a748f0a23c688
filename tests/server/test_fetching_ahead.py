"""Pictures come ahead of the model, a few and no more, and each is fetched once."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from xsam_backend.errors import ImageError
from xsam_backend.labelstudio.images import FetchedImage
from xsam_backend.server.fetching_ahead import AHEAD, FetchingAhead


class Slow:
    """Fetches when it may; knows what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may = threading.Event()
        self.lock = threading.Lock()

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        with self.lock:
            self.asked.append(url)
        if url != "first":
            assert self.may.wait(10)
        if "missing" in url:
            raise ImageError(f"{url}: HTTP 404")
        return FetchedImage(np.zeros((1, 1, 3), np.uint8), url, (1, 1), "PNG")


def test_the_next_ones_come_while_nobody_waits_for_them() -> None:
    source = Slow()
    with FetchingAhead(source, [(url, 1) for url in ("first", "a", "b", "c", "d")]) as images:
        assert images.fetch("first", 1).sha256 == "first"
        source.may.set()
        assert [images.fetch(url, 1).sha256 for url in ("a", "b", "c", "d")] == ["a", "b", "c", "d"]
    assert sorted(source.asked) == ["a", "b", "c", "d", "first"], "each once"


def test_no_more_are_held_than_stated() -> None:
    source = Slow()
    source.may.set()
    with FetchingAhead(source, [(str(number), 1) for number in range(20)]) as images:
        images.fetch("0", 1)
    assert len(source.asked) <= 1 + AHEAD


def test_an_error_comes_to_whoever_wants_the_picture() -> None:
    source = Slow()
    source.may.set()
    with FetchingAhead(source, [("first", 1), ("missing", 1), ("a", 1)]) as images:
        images.fetch("first", 1)
        with pytest.raises(ImageError, match="missing: HTTP 404"):
            images.fetch("missing", 1)
        assert images.fetch("a", 1).sha256 == "a"


def test_what_is_passed_over_keeps_no_others_from_coming_ahead() -> None:
    source = Slow()
    source.may.set()
    with FetchingAhead(source, [(str(number), 1) for number in range(9)]) as images:
        for url in ("0", "4"):
            images.fetch(url, 1)
        deadline = time.monotonic() + 10
        while not {"5", "6"} <= set(source.asked):
            assert time.monotonic() < deadline, "the next ones don't come ahead any more"
            time.sleep(0.01)
        assert [images.fetch(url, 1).sha256 for url in ("5", "6")] == ["5", "6"]
    assert source.asked.count("5") == source.asked.count("6") == 1


def test_what_was_not_expected_and_what_is_left_out() -> None:
    source = Slow()
    source.may.set()
    with FetchingAhead(source, [("first", 1), ("left out", 1), ("a", 1)]) as images:
        assert images.fetch("other", 1).sha256 == "other"
        assert images.fetch("a", 1).sha256 == "a"
        assert images.fetch("a", 2).sha256 == "a", "another task's picture"


class Sized:
    """Pictures of so many bytes; how many there are that nobody has taken yet, at most."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.asked: list[str] = []

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        self.asked.append(url)
        return FetchedImage(np.zeros((1, self.nbytes // 3, 3), np.uint8), url, (1, self.nbytes // 3), "PNG")


@pytest.mark.parametrize(
    ("most_bytes", "at_most", "reason"),
    [
        (0, 0, "nothing comes ahead"),
        (1000, 3, "three of 300 bytes"),
        (299, 1, "the first one's size isn't known before"),
        (10**6, 4, "the number is a bound, too"),
    ],
)
def test_no_more_bytes_are_held_than_stated(most_bytes: int, at_most: int, reason: str) -> None:
    source = Sized(300)
    most = 0
    with FetchingAhead(source, [(str(number), 1) for number in range(20)], 4, most_bytes) as images:
        for taken in range(20):
            images.fetch(str(taken), 1)
            time.sleep(0.005)  # what was begun comes
            most = max(most, len(source.asked) - taken - 1)
    assert most == at_most, reason
    assert sorted(source.asked, key=int) == [str(number) for number in range(20)], "each once"


def test_readers_do_not_pass_over_what_another_is_about_to_want() -> None:
    source = Sized(3)
    with FetchingAhead(source, [(str(number), 1) for number in range(6)], 4, readers=2) as images:
        for number in ("0", "2", "1", "4", "3", "5"):
            images.fetch(number, 1)
    assert sorted(source.asked) == ["0", "1", "2", "3", "4", "5"], "each once"
