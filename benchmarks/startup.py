"""The "startup" suite: how long after a start of ``serve`` as a process it is ready, and has answered a click.

All is in it: Python and its imports, a new data folder, the weights. One start before is not counted, so that files
are in the system's cache. The first click is in a picture that nobody has seen, over HTTP.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import requests
from PIL import Image

from benchmarks.predict_requests import body, predict
from benchmarks.report import Table
from benchmarks.servers import start_service
from xsam_backend.demo.processes import stop_all
from xsam_backend.scenes.scene import draw_scene

STARTS = 3
LIMIT_S = 300.0
ASKED_EVERY_S = 0.02
SIZE_HW = (480, 640)


def seconds_to_start(folder: Path, picture: Path, device: str) -> tuple[float, float]:
    """From the process's start until it says that it's ready, and until it has answered a click.

    Raises:
        DemoError: it ended.
        RuntimeError: it takes too long.
    """
    folder.mkdir()
    begun = time.perf_counter()
    child, address = start_service(folder, folder / "serve.log", local_files_root=picture.parent, device=device)
    try:
        while not _is_ready(address):
            child.check()
            if time.perf_counter() - begun > LIMIT_S:
                raise RuntimeError(f"expected it to be ready within {LIMIT_S:.0f} s: look into its log")
            time.sleep(ASKED_EVERY_S)
        ready_s = time.perf_counter() - begun
        predict(address, body([(1, picture)], (50, 50)))
        return ready_s, time.perf_counter() - begun
    finally:
        stop_all([child], 30)


def _is_ready(address: str) -> bool:
    try:
        return requests.get(f"{address}/health/ready", timeout=5).ok
    except requests.RequestException:
        return False


def suite(_sizes: Sequence[str], device: str) -> list[Table]:
    """Its table; of the shipped model only."""
    with tempfile.TemporaryDirectory() as place:
        picture = Path(place) / "picture.png"
        Image.fromarray(draw_scene(0, SIZE_HW).image).save(picture)
        starts = [seconds_to_start(Path(place) / str(number), picture, device) for number in range(STARTS + 1)][1:]
    rows = tuple(
        (what, median(seconds), min(seconds), max(seconds))
        for what, seconds in zip(("ready", "first click answered"), zip(*starts, strict=True), strict=True)
    )
    note = f"{STARTS} starts after one that isn't counted; tiny; {SIZE_HW[1]} x {SIZE_HW[0]}, a cold click."
    return [Table("From the start of the process, s", ("until", "median", "shortest", "longest"), rows, note)]
