"""The "load" suite: clicks of many annotators over HTTP, alone and beside a batch that never ends.

Annotators think between clicks, for about a second, and click at a few places of a picture of their own, which all
were clicked at before: nothing of them is encoded any more. Beside them, a client asks for batches of pictures that
nobody has seen. Rounds with and without it take turns, so that whatever else changes on the machine falls on both.
What the service has no room for it answers with 429 at once; such clicks are counted, and not timed.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from benchmarks.predict_requests import LIMIT_S, body, predict
from benchmarks.report import Table
from benchmarks.servers import serving
from benchmarks.service_metrics import mean_seconds, stage_totals
from xsam_backend.scenes.scene import draw_scene

ANNOTATORS = {1: 24.0, 4: 18.0, 16: 12.0, 64: 8.0}
"""How many, and how long a round of theirs is, in seconds: few need longer for as many clicks."""

ROUNDS = 3
"""Each without and with a batch."""

THINK_S = 1.0

PICTURES = 16
"""Annotators beyond them share pictures."""

PLACES = 4
"""Of a picture, where its annotators click."""

BATCHED, IN_A_BATCH = 1200, 4
"""Enough that none comes twice."""

SIZE_HW = (480, 640)

OF_A_BATCH = ("look", "state", "prefix", "answer")
"""Stages of a batch's picture. On warm pictures a click has the last one only."""


@dataclass
class Measured:
    """What came of some rounds with the same annotators.

    Attributes:
        took_s: of each click that was answered.
        refused: clicks answered with 429.
        batched: pictures of the batch that were answered.
        stages_s: the means of the service's stages in each round.
    """

    took_s: list[float] = field(default_factory=list)
    refused: int = 0
    batched: int = 0
    seconds: float = 0.0
    stages_s: list[dict[str, float]] = field(default_factory=list)

    def ms(self, percent: float) -> float:
        """A percentile of the clicks' times."""
        return 1000 * float(np.percentile(self.took_s, percent))

    @property
    def longest_stage(self) -> tuple[str, float]:
        """Of a batch's picture, and its milliseconds: means of all rounds."""
        means = {
            stage: float(np.mean([means[stage] for means in self.stages_s if stage in means] or [0.0]))
            for stage in OF_A_BATCH
        }
        stage = max(means, key=means.__getitem__)
        return stage, 1000 * means[stage]


def places(picture: int) -> list[tuple[float, float]]:
    """Where a picture is clicked at, per cent of its width and height."""
    rng = np.random.default_rng(picture)
    return [(float(x), float(y)) for x, y in rng.uniform(10, 90, (PLACES, 2))]


def annotate(address: str, number: int, picture: tuple[int, Path], seconds: float, measured: Measured) -> None:
    """Click and think until the time is over."""
    rng = np.random.default_rng(number)
    until = time.monotonic() + seconds
    with requests.Session() as session:
        time.sleep(float(rng.uniform(0, THINK_S)))
        while time.monotonic() < until:
            asked = body([picture], places(picture[0])[rng.integers(PLACES)])
            begun = time.perf_counter()
            answer = session.post(f"{address}/predict", json=asked, timeout=LIMIT_S)
            took_s = time.perf_counter() - begun
            if answer.status_code == requests.codes.too_many_requests:
                measured.refused += 1
            else:
                answer.raise_for_status()
                measured.took_s.append(took_s)
            time.sleep(float(rng.exponential(THINK_S)))


@contextmanager
def batches(address: str, unseen: Iterator[tuple[int, Path]], measured: Measured) -> Iterator[None]:
    """Ask for batches until the block ends, one after the other; where the service has no room, when it says.

    Raises:
        requests.HTTPError: the service refused one for another reason.
        RuntimeError: all pictures have been seen.
    """
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            some = list(islice(unseen, IN_A_BATCH))
            if not some:
                raise RuntimeError(f"expected pictures that nobody has seen, {BATCHED} were too few: raise BATCHED")
            while (wait_s := _ask_for(some)) and not stop.wait(wait_s):
                pass

    def _ask_for(some: Sequence[tuple[int, Path]]) -> float:
        """How long to wait before it's asked again; 0 if it was answered."""
        answer = requests.post(f"{address}/predict", json=body(some), timeout=LIMIT_S)
        if answer.status_code == requests.codes.too_many_requests:
            return float(answer.headers["Retry-After"])
        answer.raise_for_status()
        measured.batched += sum("result" in entry for entry in answer.json()["results"])
        return 0.0

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield
        finally:
            stop.set()
        asking.result()


def one_round(address: str, pictures: Sequence[tuple[int, Path]], annotators: int, measured: Measured) -> None:
    """So many annotators, for as long as they have."""
    seconds, before = ANNOTATORS[annotators], stage_totals(address)
    with ThreadPoolExecutor(annotators) as pool:
        clicking = [
            pool.submit(annotate, address, number, pictures[number % len(pictures)], seconds, measured)
            for number in range(annotators)
        ]
        for one in clicking:
            one.result()
    measured.seconds += seconds
    measured.stages_s.append(mean_seconds(before, stage_totals(address)))


def drawn(folder: Path) -> list[tuple[int, Path]]:
    """Pictures with their tasks' numbers: those that are clicked in, then those of batches."""
    pictures = [(number, folder / f"{number}.png") for number in range(PICTURES + BATCHED)]
    for number, path in pictures:
        Image.fromarray(draw_scene(number, SIZE_HW).image).save(path, compress_level=1)
    return pictures


def tables(alone: dict[int, Measured], beside: dict[int, Measured]) -> list[Table]:
    """The clicks, and what a batch costs them."""
    rows, rises = [], []
    for annotators, plain in alone.items():
        for words, one in (("no", plain), ("yes", beside[annotators])):
            ms = (one.ms(50), one.ms(95), one.ms(99))
            clicks = len(one.took_s) / one.seconds
            rows.append((annotators, words, clicks, *ms, one.refused, one.batched / one.seconds))
        rise_ms = beside[annotators].ms(95) - plain.ms(95)
        stage, stage_ms = beside[annotators].longest_stage
        rises.append((annotators, rise_ms, stage, stage_ms, "yes" if rise_ms < stage_ms else "no"))
    clicked = (
        "annotators",
        "batch beside",
        "clicks/s",
        "p50, ms",
        "p95, ms",
        "p99, ms",
        "refused",
        "batch pictures/s",
    )
    seconds = ", ".join(f"{seconds:g} s for {annotators}" for annotators, seconds in ANNOTATORS.items())
    note = (
        f"{ROUNDS} rounds each, with and without by turns ({seconds}); thinking {THINK_S:g} s on average "
        f"(exponential); {SIZE_HW[1]} x {SIZE_HW[0]}; the shipped model, tiny, whatever --size says. Where clicks "
        "are refused, there are more than the service can answer: then their times are those of the queue."
    )
    held = "The mean of a batch picture's longest stage while annotators click, as the service's /metrics has it."
    rise = ("annotators", "rise of p95, ms", "longest stage of a batch", "its mean, ms", "rise is less")
    return [
        Table("Clicks of many annotators on warm pictures, over HTTP", clicked, tuple(rows), note),
        Table("What a batch beside them costs", rise, tuple(rises), held),
    ]


def suite(_sizes: Sequence[str], device: str) -> list[Table]:
    """Its tables; of the shipped model only."""
    alone = {annotators: Measured() for annotators in ANNOTATORS}
    beside = {annotators: Measured() for annotators in ANNOTATORS}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        pictures = drawn(root)
        clicked, unseen = pictures[:PICTURES], iter(pictures[PICTURES:])
        data_dir, log = root / "data", root / "serve.log"
        data_dir.mkdir()
        with serving(data_dir, log, local_files_root=root, device=device) as address:
            for picture in clicked:
                for at in places(picture[0]):
                    predict(address, body([picture], at))
            for annotators in ANNOTATORS:
                for _ in range(ROUNDS):
                    one_round(address, clicked, annotators, alone[annotators])
                    with batches(address, unseen, beside[annotators]):
                        one_round(address, clicked, annotators, beside[annotators])
    return tables(alone, beside)
