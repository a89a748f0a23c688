"""Ctrl-C for verbs that can end early with what they have: once to stop, twice to leave at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click


@contextmanager
def stopping_on_interrupt(words: str) -> Iterator[Callable[[], bool]]:
    """Inside, a first Ctrl-C says ``words`` on stderr and makes the given function true; a second one interrupts."""
    is_stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping:
            raise KeyboardInterrupt
        is_stopping = True
        click.echo(f"\n{words}", err=True)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: is_stopping
    finally:
        signal.signal(signal.SIGINT, before)
