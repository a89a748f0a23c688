"""Answers come ahead of their writer, a few and no more, in order. In sequence, these would not end."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import pytest

from xsam_backend.prelabelling.in_step import UNWRITTEN, answered_ahead

LIMIT_S = 20.0


def test_the_next_ones_are_answered_while_one_is_written() -> None:
    answered = {number: threading.Event() for number in range(8)}

    def answer(number: int) -> int:
        answered[number].set()
        return number * number

    with answered_ahead(answer, range(8)) as answers:
        for number, one in answers:
            for later in range(number, min(number + UNWRITTEN, 7) + 1):
                assert answered[later].wait(LIMIT_S), f"{later} isn't answered while {number} is written"
            assert one.result() == number * number


def test_no_more_are_made_than_stated() -> None:
    begun: list[int] = []
    with answered_ahead(begun.append, range(30)) as answers:
        for number, one in answers:
            one.result()
            time.sleep(0.005)  # they could come now
            assert len(begun) <= number + 1 + UNWRITTEN
    assert sorted(begun) == list(range(30))


def test_an_error_is_its_items_own() -> None:
    def answer(number: int) -> int:
        if number % 3 == 1:
            raise ValueError(f"{number} is wrong")
        return number

    with answered_ahead(answer, range(7)) as answers:
        found = [(number, one.exception() is None) for number, one in answers]
    assert found == [(number, number % 3 != 1) for number in range(7)]


def test_when_the_writer_fails_no_other_is_begun() -> None:
    begun: list[int] = []
    may_end = threading.Event()

    def answer(number: int) -> None:
        begun.append(number)
        if number:
            assert may_end.wait(LIMIT_S)

    def fail(one: Future[None]) -> None:
        one.result()
        may_end.set()
        raise OSError("a full disk")

    with pytest.raises(OSError, match="a full disk"), answered_ahead(answer, range(30)) as answers:  # noqa: PT012
        for _, one in answers:
            fail(one)
    so_far = list(begun)
    assert len(so_far) <= 1 + UNWRITTEN
    time.sleep(0.05)
    assert begun == so_far
