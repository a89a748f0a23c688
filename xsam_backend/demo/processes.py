"""The demo's child processes: started in sessions of their own, watched, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

from xsam_backend.demo import tied
from xsam_backend.errors import DemoError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_TAIL_LINES = 25
_LOOKED_EVERY_S = 0.2


def tied_to_us(command: Sequence[str]) -> list[str]:
    """The command (an absolute path first) as one that ends with this process, also where this one is killed."""
    # -I: tied.py's folder must not come before the library of the command's own Python.
    return [sys.executable, "-I", tied.__file__, str(os.getpid()), *command]


class Child:
    """A server that we start and stop.

    Args:
        name: what messages call it.
        command: program (an absolute path) and arguments, no secret among them: everybody can read a command line.
        environment: all of it, secrets included.
        log: file that gets what it says; begun anew, the one before is kept beside it.
        folder: where it runs.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path
    ) -> None:
        self.name = name
        self.log = log
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                tied_to_us(command),
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us only; we stop it in good order
            )

    @property
    def pid(self) -> int:
        """Number of its first process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its main process is there."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raises DemoError with the end of its log, if it has ended by itself."""
        status = self._process.poll()
        if status is None:
            return
        how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
        raise DemoError(
            f"{self.name} {how}, which nobody asked for. The end of its log ({self.log}):\n{self.log_tail()}"
        )

    def log_tail(self) -> str:
        """The last lines that it wrote, indented."""
        lines = self.log.read_text("utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:]) or "  (empty)"

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.is_running:
            self._process.terminate()

    def kill(self) -> None:
        """End what is left of it, worker processes included."""
        with suppress(ProcessLookupError, PermissionError):  # the latter is macOS's word for a group that has ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


AnswerT = TypeVar("AnswerT")


def wait_for(
    answer: Callable[[], AnswerT | None], children: Sequence[Child], *, limit_s: float, what: str
) -> AnswerT:
    """Ask until there is an answer other than None.

    Raises:
        DemoError: one of the children ended, or it took longer than the limit.
    """
    deadline = time.monotonic() + limit_s
    while (given := answer()) is None:
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            logs = ", ".join(str(child.log) for child in children)
            raise DemoError(f"{what} did not answer within {limit_s:.0f} s: look into {logs}")
        time.sleep(_LOOKED_EVERY_S)
    return given


def watch(children: Sequence[Child]) -> NoReturn:
    """Raises DemoError when a child ends, KeyboardInterrupt when we are asked to stop."""
    while True:
        for child in children:
            child.check()
        time.sleep(_LOOKED_EVERY_S)


def stop_all(children: Sequence[Child], grace_s: float) -> None:
    """Stop them together. Those that are there after ``grace_s``, or when we're asked a second time, are killed."""
    hurry: list[int] = []

    def soon(number: int, _frame: FrameType | None) -> None:
        hurry.append(number)

    with _handling(soon):
        for child in children:
            child.terminate()
        deadline = time.monotonic() + grace_s
        while any(child.is_running for child in children) and not hurry and time.monotonic() < deadline:
            time.sleep(0.05)
        for child in children:
            child.kill()


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP do what Ctrl-C does: raise KeyboardInterrupt."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling(interrupt):
        yield


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Inside, the handler has the stop signals, except those that somebody (nohup) wants ignored."""
    previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    previous = {number: old for number, old in previous.items() if old is not signal.SIG_IGN}
    for number in previous:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
