"""Ctrl-C, and SIGTERM, for verbs that can end early with what they have: once to stop, twice to leave at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click


@contextmanager
def stopping_on_request(words: str) -> Iterator[Callable[[], bool]]:
    """Inside, a first signal says ``words`` on stderr and makes the given function true; a second one interrupts."""
    is_stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping:
            raise KeyboardInterrupt
        is_stopping = True
        click.echo(f"\n{words}", err=True)

    # Whoever ends a job that takes hours, a scheduler or a person, wants what there is.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: is_stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
