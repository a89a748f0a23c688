"""The "load" suite: clicks of many annotators over HTTP, alone and beside a batch that never ends.

Annotators think between clicks, for about a second, each in a picture of their own that is encoded already. Beside
them, a client asks for batches of pictures that nobody has seen. What the service has no room for it answers with 429
at once; such clicks are counted, and not timed.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from benchmarks.predict_requests import body, predict
from benchmarks.report import Table
from benchmarks.servers import serving
from xsam_backend.scenes.scene import draw_scene

ANNOTATORS = (1, 4, 16, 64)
THINK_S = 1.0
SECONDS = 30.0
"""Of each measurement."""

PICTURES = 16
"""Annotators beyond them share pictures."""

BATCHED, IN_A_BATCH = 1200, 4
"""Enough that none comes twice."""

SIZE_HW = (480, 640)


def annotate(address: str, number: int, path: Path, until: float, took: list[float]) -> int:
    """Click and think until the time is over; how many clicks were refused."""
    rng = np.random.default_rng(number)
    refused = 0
    with requests.Session() as session:
        time.sleep(float(rng.uniform(0, THINK_S)))
        while time.monotonic() < until:
            at = (float(rng.uniform(10, 90)), float(rng.uniform(10, 90)))
            begun = time.perf_counter()
            answer = session.post(f"{address}/predict", json=body([(number, path)], at), timeout=120)
            if answer.status_code == requests.codes.too_many_requests:
                refused += 1
            else:
                answer.raise_for_status()
                took.append(time.perf_counter() - begun)
            time.sleep(float(rng.exponential(THINK_S)))
    return refused


@contextmanager
def batches(address: str, unseen: Iterator[tuple[int, Path]]) -> Iterator[list[int]]:
    """Ask for batches until the block ends; the tasks that were answered so far."""
    stop, answered = threading.Event(), list[int]()

    def ask() -> None:
        while not stop.is_set():
            some = list(islice(unseen, IN_A_BATCH))
            results = predict(address, body(some))
            answered.extend(task for (task, _), entry in zip(some, results, strict=True) if "result" in entry)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answered
    finally:
        stop.set()
        thread.join()


def measured(address: str, paths: Sequence[Path], annotators: int) -> tuple[str | float, ...]:
    """Clicks in a second, percentiles of their milliseconds, and how many were refused."""
    took: list[float] = []
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(annotators) as pool:
        refused = sum(pool.map(lambda n: annotate(address, n, paths[n % len(paths)], until, took), range(annotators)))
    ms = np.array(took) * 1000
    return len(took) / SECONDS, *(float(np.percentile(ms, share)) for share in (50, 95, 99)), refused


def suite(_sizes: Sequence[str], device: str) -> list[Table]:
    """Its table; of the shipped model only."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        paths = [root / f"{number}.png" for number in range(PICTURES + BATCHED)]
        for number, path in enumerate(paths):
            Image.fromarray(draw_scene(number, SIZE_HW).image).save(path)
        data_dir, log = root / "data", root / "serve.log"
        data_dir.mkdir()
        with serving(data_dir, log, local_files_root=root, device=device) as address:
            for number, path in enumerate(paths[:PICTURES]):
                predict(address, body([(number, path)], (50, 50)))
            unseen = iter(list(enumerate(paths))[PICTURES:])
            for annotators in ANNOTATORS:
                rows.append((annotators, "no", *measured(address, paths[:PICTURES], annotators), 0.0))
                with batches(address, unseen) as answered:
                    row = measured(address, paths[:PICTURES], annotators)
                    rows.append((annotators, "yes", *row, len(answered) / SECONDS))
    columns = (
        "annotators",
        "batch beside",
        "clicks/s",
        "p50, ms",
        "p95, ms",
        "p99, ms",
        "refused",
        "batch pictures/s",
    )
    note = f"{SECONDS:.0f} s each, one run; thinking {THINK_S:.0f} s on average (exponential); 640 x 480, tiny."
    return [Table("Clicks of many annotators on warm pictures, over HTTP", columns, tuple(rows), note)]
