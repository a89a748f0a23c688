"""The "growth" suite: what an answer costs as pictures, annotations, labels and what is kept grow; over HTTP.

Each table varies one thing. Seconds are of whole requests, the picture read and decoded, the reply written; so they
say what an annotator waits. The last column of a table is the growth of time by growth of size between a row and the
one before: 0 where size costs nothing, 1 where twice as much takes twice as long.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import cv2
from PIL import Image

from benchmarks.predict_requests import body, seconds_to_predict
from benchmarks.report import Table
from benchmarks.servers import serving
from xsam_backend.geometry.brush_rle import mask_to_brush_rle
from xsam_backend.scenes.scene import draw_scene

MEGAPIXELS = (0.3, 1.0, 3.0, 12.0, 50.0)
REGIONS = (1, 10, 100, 500)
LABELS = (1, 5, 50, 500)
KEPT = (1, 10, 100, 300)
ROUNDS = 7
SIZE_HW = (480, 640)
MIDDLE = (50.0, 50.0)


def file_of_size(folder: Path, megapixels: float, seed: int = 0) -> tuple[Path, tuple[int, int]]:
    """A JPEG of so many megapixels, 4 : 3, and its size."""
    height = round(math.sqrt(megapixels * 1e6 * 3 / 4))
    size_hw = height, round(height * 4 / 3)
    path = folder / f"{megapixels}-{seed}.jpg"
    picture = cv2.resize(draw_scene(seed, SIZE_HW).image, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    Image.fromarray(picture).save(path, quality=90)
    return path, size_hw


def annotation(regions: int) -> dict[str, object]:
    """What Label Studio keeps of so many brushed objects."""
    mask = draw_scene(1, SIZE_HW).masks[0]
    region = {
        "type": "brushlabels",
        "from_name": "drawn",
        "to_name": "image",
        "original_width": SIZE_HW[1],
        "original_height": SIZE_HW[0],
        "value": {"format": "rle", "rle": mask_to_brush_rle(mask), "brushlabels": ["ball"]},
    }
    return {"id": 1, "result": [{**region, "id": str(number)} for number in range(regions)]}


def with_growth(rows: Iterable[tuple[float, ...]]) -> tuple[tuple[str | float, ...], ...]:
    """Rows whose first number is a size and whose last a time, each with its growth beside the row before."""
    found: list[tuple[str | float, ...]] = []
    before: tuple[float, ...] | None = None
    for row in rows:
        growth = math.log(row[-1] / before[-1]) / math.log(row[0] / before[0]) if before else "-"
        found.append((*row, growth))
        before = row
    return tuple(found)


class _Asked:
    """Asks one service, in milliseconds."""

    def __init__(self, address: str) -> None:
        self.address = address

    def once(self, tasks: Sequence[tuple[int, Path]], *click_at: tuple[float, float], **told: object) -> float:
        return 1000 * seconds_to_predict(self.address, body(tasks, *click_at, **told))  # type: ignore[arg-type]

    def warm(self, task: tuple[int, Path], *click_at: tuple[float, float], **told: object) -> float:
        """Median of some, after one that isn't counted."""
        self.once([task], *click_at, **told)
        return median(self.once([task], *click_at, **told) for _ in range(ROUNDS))


def by_picture(asked: _Asked, folder: Path) -> Table:
    """From small pictures to very large ones."""
    rows = []
    for number, megapixels in enumerate(MEGAPIXELS, 100):
        files = [file_of_size(folder, megapixels, seed) for seed in range(3)]
        cold = median(
            asked.once([(10 * number + seed, path)], MIDDLE, size_hw=size_hw)
            for seed, (path, size_hw) in enumerate(files)
        )
        path, size_hw = files[0]
        rows.append((megapixels, cold, asked.warm((10 * number, path), MIDDLE, size_hw=size_hw)))
    columns = ("megapixels", "cold click, ms", "warm click, ms", "growth of warm")
    return Table("Larger pictures", columns, with_growth(rows))


def by_regions(asked: _Asked, task: tuple[int, Path]) -> Table:
    """A task with many annotated regions, which come with every click."""
    rows = [(n, asked.warm(task, MIDDLE, annotations=[annotation(n)])) for n in REGIONS]
    return Table("More annotated regions in the request", ("regions", "warm click, ms", "growth"), with_growth(rows))


def by_labels(asked: _Asked, task: tuple[int, Path]) -> Table:
    """A config with many labels."""
    rows = []
    for count in LABELS:
        labels = [f"thing {number}" for number in range(count)]
        rows.append((count, asked.warm(task, MIDDLE, labels=labels), asked.warm(task, labels=labels)))
    columns = ("labels", "warm click, ms", "pre-labels, warm, ms", "growth of pre-labels")
    return Table("More labels in the config", columns, with_growth(rows))


def by_kept(asked: _Asked, folder: Path) -> Table:
    """Many pictures in the cache; the click is in the first of them."""
    rows = []
    tasks = []
    for number in range(max(KEPT)):
        path = folder / f"kept-{number}.jpg"
        Image.fromarray(draw_scene(1000 + number, SIZE_HW).image).save(path)
        tasks.append((5000 + number, path))
    done = 0
    for count in KEPT:
        for task in tasks[done:count]:
            asked.once([task], MIDDLE)
        done = count
        rows.append((count, asked.warm(tasks[0], MIDDLE)))
    return Table("More pictures kept", ("pictures", "warm click, ms", "growth"), with_growth(rows))


def suite(_sizes: Sequence[str], device: str) -> list[Table]:
    """Its tables; of the shipped model only."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        data_dir = root / "data"
        data_dir.mkdir()
        path, _ = file_of_size(root, 0.3, seed=50)
        with serving(data_dir, root / "serve.log", local_files_root=root, device=device) as address:
            asked = _Asked(address)
            asked.once([(1, path)], MIDDLE)
            return [
                by_picture(asked, root),
                by_regions(asked, (1, path)),
                by_labels(asked, (1, path)),
                by_kept(asked, root),
            ]
