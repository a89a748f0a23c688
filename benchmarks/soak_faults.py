"""What goes wrong in a soak, at random: kills, a Label Studio behind a faulty proxy, a full disk, a held database.

Kills and stops come in the first half only: whether memory grows shows in a process that lives long.
"""

from __future__ import annotations

import math
import random
import resource
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from statistics import median

import requests

from benchmarks.faulty_proxy import FAULTS, FaultyProxy
from xsam_backend.demo.processes import Child, wait_for

START_LIMIT_S = 300.0
END_LIMIT_S = 60.0
SPELL_S = (2.0, 6.0)
"""A fault that passes lasts about so long."""

CALM_S = (2.0, 8.0)
"""Between two faults."""

AFTER_S = 1.0
"""So long after a fault it may still be felt."""

ENDS = ("kill -9 and restart", "SIGTERM and restart")
"""Faults after which another process serves."""

LONG_S = 600.0
"""So long a process must have lived for its memory to say anything."""


class Service:
    """``serve``, which may be killed and started again."""

    def __init__(self, environment: Mapping[str, str], url: str, folder: Path) -> None:
        self._environment, self.url, self._folder = environment, url, folder
        self.starts = 0
        self.child: Child | None = None
        # Children are tied to the thread that starts them: Linux ends them with it. This one lives to the end.
        self._starter = ThreadPoolExecutor(1)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._starter.submit(self._start).result()

    def _start(self) -> None:
        self.starts += 1
        command = [sys.executable, "-m", "xsam_backend", "serve"]
        log = self._folder / f"serve-{self.starts}.log"
        self.child = Child("serve", command, self._environment, log, self._folder)
        wait_for(self._is_up, [self.child], limit_s=START_LIMIT_S, what="serve")

    def _is_up(self) -> bool | None:
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/health", timeout=5).ok or None
        return None

    def kill(self) -> None:
        """End all its processes at once, with SIGKILL."""
        assert self.child is not None
        self.child.kill()

    def end(self) -> None:
        """Ask it to end, and wait until it has.

        Raises:
            TimeoutError: it is still there.
        """
        assert self.child is not None
        self.child.terminate()
        deadline = time.monotonic() + END_LIMIT_S
        while self.child.is_running:
            if time.monotonic() > deadline:
                raise TimeoutError(f"serve did not end within {END_LIMIT_S:.0f} s of SIGTERM")
            time.sleep(0.1)

    @property
    def pids(self) -> list[int]:
        """Of all its processes, the one that we started first."""
        assert self.child is not None
        found = [self.child.pid]
        for pid in found:  # grows meanwhile
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    @property
    def rss_mb(self) -> float:
        """Main memory of its largest process; 0 while there is none."""
        sizes = [0.0]
        for pid in self.pids:
            with suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                sizes.append(pages * resource.getpagesize() / 2**20)
        return max(sizes)

    def limit_files(self, most_bytes: int) -> None:
        """From now on its files can't be written past so many bytes: for what it writes, the disk is full."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))


class Faults:
    """Injects one fault after another until it is stopped, then mends everything.

    Args:
        ends_s: for so long processes end, too.
    """

    def __init__(self, service: Service, proxy: FaultyProxy, data_dir: Path, seed: int, ends_s: float) -> None:
        self._service, self._proxy, self._data_dir = service, proxy, data_dir
        self._ends_s = ends_s
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self.injected: Counter[str] = Counter()
        self.spells: list[tuple[float, float]] = []
        """When something was wrong: monotonic seconds; the last may be under way, without end."""
        self.broken: list[str] = []
        """What went wrong in injecting: the service didn't come back, say."""
        self._kinds: dict[str, Callable[[], None]] = {
            **dict(zip(ENDS, (self._kill, self._end), strict=True)),
            "disk full": self._fill,
            "inbox held": lambda: self._hold("inbox"),
            "store held": lambda: self._hold("store"),
            **{f"Label Studio {fault}": lambda fault=fault: self._spoil(fault) for fault in FAULTS},
        }
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def explains(self, begun: float, ended: float) -> bool:
        """Whether something was wrong while a request was under way, or a moment before."""
        return any(begun < end + AFTER_S and ended > begin for begin, end in list(self.spells))

    def stop(self) -> None:
        """End after the fault under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        """Every kind once, in random order, then any; so that a short soak sees them all if it has the time."""
        no_more_ends = time.monotonic() + self._ends_s
        coming = self._random.sample(list(self._kinds), len(self._kinds))
        while not self._stop.wait(self._random.uniform(*CALM_S)):
            kind = coming.pop() if coming else self._random.choice(list(self._kinds))
            if kind in ENDS and time.monotonic() > no_more_ends:
                continue
            begun = time.monotonic()
            self.spells.append((begun, math.inf))
            try:
                self._kinds[kind]()
                self.spells[-1] = begun, time.monotonic()
                self.injected[kind] += 1
            except Exception as error:
                self.broken.append(f"{kind}: {error}")
                return

    def _spell(self) -> None:
        self._stop.wait(self._random.uniform(*SPELL_S))

    def _kill(self) -> None:
        self._service.kill()
        self._service.start()

    def _end(self) -> None:
        self._service.end()
        self._service.start()

    def _fill(self) -> None:
        self._service.limit_files(1)
        self._spell()
        self._service.limit_files(resource.RLIM_INFINITY)

    def _hold(self, name: str) -> None:
        with closing(sqlite3.connect(self._data_dir / f"{name}.sqlite3", isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            self._spell()

    def _spoil(self, fault: str) -> None:
        self._proxy.fault = fault
        self._spell()
        self._proxy.fault = None


class MemoryCurve:
    """A process's main memory, looked at every second; a restart begins another curve."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._begun = time.monotonic()
        self.rows: list[tuple[float, int, float]] = []
        """Seconds, number of the start, MB."""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            if rss_mb := self._service.rss_mb:
                self.rows.append((round(time.monotonic() - self._begun, 1), self._service.starts, round(rss_mb, 1)))

    @property
    def lives(self) -> list[dict[str, float]]:
        """For each start: its seconds, and its memory after the first half, at the end and at most."""
        found = []
        for number in sorted({row[1] for row in self.rows}):
            mine = [(at, mb) for at, start, mb in self.rows if start == number]
            half = [mb for at, mb in mine if at >= (mine[0][0] + mine[-1][0]) / 2]
            found.append(
                {
                    "seconds": round(mine[-1][0] - mine[0][0]),
                    "mb_half_way": half[0],
                    "mb_at_the_end": half[-1],
                    "mb_at_most": max(mb for _, mb in mine),
                }
            )
        return found

    @property
    def growth(self) -> float | None:
        """Of the process that served last: the median of its last quarter by that of its second one, less 1; None if
        it lived too short to say."""
        last = [(at, mb) for at, start, mb in self.rows if start == self.rows[-1][1]]
        if not last or last[-1][0] - last[0][0] < LONG_S:
            return None
        quarter = len(last) // 4
        early, late = last[quarter : 2 * quarter], last[-quarter:]
        return round(median(mb for _, mb in late) / median(mb for _, mb in early) - 1, 3)
