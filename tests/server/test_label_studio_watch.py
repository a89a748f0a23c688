"""The watch's words: an outage is said once, and that it is over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xsam_backend.errors import LabelStudioError
from xsam_backend.server.label_studio_watch import LabelStudioWatch
from xsam_backend.server.monitor import Monitor


def test_an_outage_is_said_to_be_over() -> None:
    """As where both start together and Label Studio takes longer."""
    answers: Iterator[bool] = iter([False, False, True, True])

    def ask() -> None:
        if not next(answers):
            raise LabelStudioError("cannot be reached")

    monitor = Monitor()
    watch = LabelStudioWatch(ask, monitor)
    seen = []
    for _ in range(4):
        watch._guarded(watch._name, watch._round)
        seen.append((watch.is_reachable, [one.over_at is not None for one in monitor.last_problems]))
    assert seen == [(False, [False]), (False, [False]), (True, [True]), (True, [True])]
    assert monitor.last_problems[0].message == "cannot be reached"


def test_nothing_is_said_of_one_that_was_there_all_the_time() -> None:
    monitor = Monitor()
    watch = LabelStudioWatch(lambda: None, monitor)
    watch._round()
    assert (watch.is_reachable, monitor.last_problems) == (True, [])


@pytest.mark.parametrize("kept", [3])
def test_a_traceback_is_never_over(kept: int) -> None:
    """It was a bug at its moment, and the log's entry stays to be looked at."""
    monitor = Monitor(kept)
    monitor.problem(KeyError("x"), "Label Studio")
    monitor.over("Label Studio")
    assert monitor.last_problems[0].over_at is None
