"""Several pictures at once: in order, with the threads shared out, and none begun that nobody wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from xsam_backend.learning.side_by_side import at_once, side_by_side


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order(count: int) -> None:
    def slow(number: int) -> int:
        time.sleep(0.02 * (5 - number))
        return number * 10

    assert list(side_by_side(slow, range(5), count)) == [0, 10, 20, 30, 40]


@pytest.mark.usefixtures("four_threads")
def test_they_run_at_once_and_share_the_threads() -> None:
    meet = threading.Barrier(2, timeout=20)

    def work(_: int) -> int:
        meet.wait()
        return torch.get_num_threads()

    assert list(side_by_side(work, range(4), 2)) == [2, 2, 2, 2]
    assert torch.get_num_threads() == 4
    with_own: list[int] = []
    later = threading.Thread(target=lambda: with_own.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert with_own == [4], "threads that come later aren't meant"


def test_an_error_comes_in_its_place_and_ends_it() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.02)
        if number == 1:
            raise ValueError("the second")
        return number

    results = side_by_side(work, range(100), 2)
    assert next(results) == 0
    with pytest.raises(ValueError, match="the second"):
        next(results)
    assert len(begun) < 20


def test_who_stops_asking_waits_for_what_was_begun_alone() -> None:
    """As a cancelled job does."""
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.02)
        return number

    results = side_by_side(work, range(100), 2)
    next(results)
    results.close()
    assert len(begun) < 20


@pytest.mark.usefixtures("four_threads")
def test_how_many_at_once() -> None:
    assert at_once(torch.device("cpu")) == 4
    assert at_once(torch.device("cuda")) == 1, "its queue is one"
    torch.set_num_threads(64)
    assert at_once(torch.device("cpu")) == 4, "memory"
