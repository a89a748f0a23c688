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
import numpy as np
from PIL import Image

from benchmarks.predict_requests import body, seconds_to_predict
from benchmarks.report import Table
from benchmarks.servers import serving
from benchmarks.service_metrics import pictures_kept
from xsam_backend.geometry.brush_rle import mask_to_brush_rle
from xsam_backend.geometry.raster import ellipse_to_mask
from xsam_backend.scenes.scene import draw_scene

MEGAPIXELS = (0.3, 1.0, 3.0, 12.0, 50.0)
REGIONS = (1, 10, 100, 500)
LABELS = (1, 5, 50, 500)
KEPT = (1, 10, 100, 300)
KEPT_MB = 8000
"""Room for them all, and for the windows that were looked at."""

ROUNDS = 7
SIZE_HW = (480, 640)
MIDDLE = (50.0, 50.0)
LARGE = 12.0
"""Megapixels of a picture with many annotated regions, beside a small one."""

PHRASE = "ball"


def file_of_size(folder: Path, megapixels: float, seed: int = 0) -> tuple[Path, tuple[int, int]]:
    """A JPEG of so many megapixels, 4 : 3, and its size."""
    height = round(math.sqrt(megapixels * 1e6 * 3 / 4))
    size_hw = height, round(height * 4 / 3)
    path = folder / f"{megapixels}-{seed}.jpg"
    picture = cv2.resize(draw_scene(seed, SIZE_HW).image, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    Image.fromarray(picture).save(path, quality=90)
    return path, size_hw


def annotation(regions: int, size_hw: tuple[int, int]) -> dict[str, object]:
    """What Label Studio keeps of so many brushed objects, here and there in a picture."""
    height, width = size_hw
    rng = np.random.default_rng(0)
    result = []
    for number, (x, y, radius) in enumerate(rng.uniform((0, 0, 0.01), (1, 1, 0.05), (regions, 3)).tolist()):
        mask = ellipse_to_mask(x * width, y * height, radius * width, radius * height, size_hw)
        result.append(
            {
                "id": str(number),
                "type": "brushlabels",
                "from_name": "drawn",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "value": {"format": "rle", "rle": mask_to_brush_rle(mask), "brushlabels": ["ball"]},
            }
        )
    return {"id": 1, "result": result}


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


def by_regions(asked: _Asked, task: tuple[int, Path], megapixels: float, size_hw: tuple[int, int]) -> Table:
    """A task with many annotated regions, which come with every click and phrase."""
    rows = []
    for count in REGIONS:
        annotations = [annotation(count, size_hw)]
        clicked = asked.warm(task, MIDDLE, size_hw=size_hw, annotations=annotations)
        rows.append((count, clicked, asked.warm(task, phrase=PHRASE, annotations=annotations)))
    columns = ("regions", "warm click, ms", "warm phrase, ms", "growth of phrases")
    note = "A phrase's answer leaves out what is annotated already, so it reads all regions."
    title = f"Annotated regions, {megapixels:g} megapixels"
    return Table(title, columns, with_growth(rows), note)


def by_labels(asked: _Asked, task: tuple[int, Path]) -> Table:
    """A config with many labels."""
    rows = []
    for count in LABELS:
        labels = [f"thing {number}" for number in range(count)]
        rows.append((count, asked.warm(task, MIDDLE, labels=labels), asked.warm(task, labels=labels)))
    columns = ("labels", "warm click, ms", "pre-labels, warm, ms", "growth of pre-labels")
    return Table("More labels in the config", columns, with_growth(rows))


def by_kept(asked: _Asked, folder: Path) -> Table:
    """Many pictures in the cache; the click is in the first of them.

    Raises:
        RuntimeError: they are not all kept.
    """
    rows = []
    others = pictures_kept(asked.address)["states"]
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
        kept = pictures_kept(asked.address)["states"] - others
        if kept < count:
            raise RuntimeError(f"expected {count} pictures to be kept, got {kept}: raise image_cache_mb")
        rows.append((count, asked.warm(tasks[0], MIDDLE)))
    return Table("More pictures kept", ("pictures", "warm click, ms", "growth"), with_growth(rows))


def suite(_sizes: Sequence[str], device: str) -> list[Table]:
    """Its tables; of the shipped model only."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        data_dir = root / "data"
        data_dir.mkdir()
        path, size_hw = file_of_size(root, 0.3, seed=50)
        settings = {"local_files_root": root, "device": device, "image_cache_mb": KEPT_MB}
        with serving(data_dir, root / "serve.log", **settings) as address:
            asked = _Asked(address)
            asked.once([(1, path)], MIDDLE)
            large, large_hw = file_of_size(root, LARGE, seed=51)
            return [
                by_picture(asked, root),
                by_regions(asked, (1, path), 0.3, size_hw),
                by_regions(asked, (2, large), LARGE, large_hw),
                by_labels(asked, (1, path)),
                by_kept(asked, root),
            ]
