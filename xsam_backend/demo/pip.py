"""pip in the demo's environment: shown while it works, and its failures in words."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from xsam_backend.config import inherited_environment
from xsam_backend.demo.processes import tied_to_us
from xsam_backend.demo.progress import Step
from xsam_backend.errors import DemoError

_TAIL_LINES = 15

_NOT_FOR_PIP = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PIP_USER",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_QUIET",
    "PIP_LOG",
)
"""Variables that would make pip install somewhere else than told, or say less than we read."""

_DISK_FULL = re.compile(r"No space left on device|Errno 28\b|Disk quota exceeded")
_NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|Read timed out|ReadTimeout|ConnectionResetError"
    r"|Connection refused|Network is unreachable|ProxyError|Failed to establish a new connection|IncompleteRead"
    r"|Connection broken|SSLError|CERTIFICATE_VERIFY_FAILED|RemoteDisconnected"
    r"|\(from versions: none\)"  # the index was not reached, or is one that has never heard of the package
)
_NOT_THERE = re.compile(r"No matching distribution found for (.+)")


class PipError(DemoError):
    """pip failed. ``is_from_outside``: for want of network or room, so that trying again at once is of no use."""

    def __init__(self, message: str, *, is_from_outside: bool) -> None:
        super().__init__(message)
        self.is_from_outside = is_from_outside


def run_pip(python: Path, arguments: Sequence[str], log: Path, step: Step) -> None:
    """Run ``pip ARGUMENTS`` of an environment's Python; what it says goes to ``log``, a summary to ``step``.

    What was downloaded completely is in pip's own cache: another run continues from there.

    Raises:
        PipError: in words, with what to do.
    """
    command = [str(python), "-m", "pip", *arguments, "--no-input", "--disable-pip-version-check"]
    watcher = _Watcher(step, python.parent.parent)
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            tied_to_us([*command, "--progress-bar", "off"]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=inherited_environment(without=_NOT_FOR_PIP),
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                output.write(line)
                watcher.read(line)
            status = process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)  # lets pip remove its temporary folders
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()
    if status != 0:
        raise _explained(status, log)


class _Watcher:
    """Reads pip's lines, and keeps a step's detail up to date."""

    def __init__(self, step: Step, environment: Path) -> None:
        self._step = step
        self._environment = environment
        self._packages = 0

    def read(self, line: str) -> None:
        """Take one line into account."""
        words = line.split()
        if line.startswith("Collecting "):
            self._packages += 1
            self._step.detail = f"package {self._packages}, {words[1]}"
        elif words[:1] == ["Downloading"]:
            self._step.detail = f"package {self._packages}, downloading {' '.join(words[1:])}"
        elif line.startswith("Building wheel"):
            self._step.detail = f"building {words[-1]}" if words else "building"
        elif line.startswith("Installing collected packages:"):
            total, before = line.partition(":")[2].count(",") + 1, self._installed()
            self._step.detail = lambda: f"unpacking, {min(self._installed() - before, total)} of {total} packages"

    def _installed(self) -> int:
        return sum(1 for _ in self._environment.glob("lib/python*/site-packages/*.dist-info"))


def _explained(status: int, log: Path) -> PipError:
    said = log.read_text("utf-8", errors="replace")
    if _DISK_FULL.search(said):
        return PipError(
            f"the disk is full: pip could not write below {log.parent.parent} or its cache (see {log}); make room, "
            "about 2 GB, and start the demo again: it goes on from where it was",
            is_from_outside=True,
        )
    if _NO_NETWORK.search(said):
        return PipError(
            f"pip cannot reach its package index (see {log}): check the network, the proxy (HTTPS_PROXY) or the "
            "mirror (PIP_INDEX_URL), and start the demo again: what was downloaded is kept",
            is_from_outside=True,
        )
    missing = _NOT_THERE.search(said)
    if missing:
        return PipError(
            f"the package index that pip asks has no {missing[1].strip()} for this Python (see {log}): use another "
            "index (PIP_INDEX_URL), or Python 3.10 to 3.13",
            is_from_outside=True,
        )
    tail = "\n".join(f"  {line}" for line in said.splitlines()[-_TAIL_LINES:])
    return PipError(
        f"pip ended with exit status {status}. The end of its log ({log}):\n{tail}", is_from_outside=False
    )
