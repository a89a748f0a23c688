"""What the demo is doing, on stderr: on a terminal one line that is rewritten, elsewhere a line now and then."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_REDRAWN_EVERY_S = 0.2
_SAID_EVERY_S = 15.0
"""How often a step that goes on says so where nothing can be rewritten."""


class Step:
    """One thing that takes a while. ``detail`` may be changed at any time, or be asked for whenever it's shown."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.detail: str | Callable[[], str] = ""
        self._started = time.monotonic()

    def __str__(self) -> str:
        detail = self.detail() if callable(self.detail) else self.detail
        return f"{self.what}{f': {detail}' if detail else ''} ({self.seconds:.0f} s)"

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._started


class Progress:
    """Shows steps, one after the other."""

    def __init__(
        self, stream: TextIO | None = None, *, rewrites: bool | None = None, said_every_s: float = _SAID_EVERY_S
    ) -> None:
        self._stream = stream or sys.stderr
        self._rewrites = self._stream.isatty() if rewrites is None else rewrites
        self._every_s = _REDRAWN_EVERY_S if self._rewrites else said_every_s

    def say(self, line: str) -> None:
        """One line, between steps."""
        print(line, file=self._stream, flush=True)

    @contextmanager
    def step(self, what: str) -> Iterator[Step]:
        """Show ``what`` until the block ends, then how long it took, also where it failed or was interrupted."""
        step = Step(what)
        done = threading.Event()
        ticking = threading.Thread(target=self._tick, args=(step, done), daemon=True)
        self._show(step)
        ticking.start()
        outcome = "stopped after"
        try:
            yield step
            outcome = "done in"
        finally:
            done.set()
            ticking.join()
            self._erase()
            self.say(f"{what}: {outcome} {step.seconds:.0f} s")

    def _tick(self, step: Step, done: threading.Event) -> None:
        while not done.wait(self._every_s):
            self._show(step)

    def _show(self, step: Step) -> None:
        if not self._rewrites:
            self.say(f"{step} ...")
            return
        width = shutil.get_terminal_size().columns - 1
        self._erase()
        print(f"{step} ..."[:width], end="", file=self._stream, flush=True)

    def _erase(self) -> None:
        if self._rewrites:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
