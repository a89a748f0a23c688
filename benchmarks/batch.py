"""The "batch" suite: pictures pre-labelled in a second, over HTTP, beside what the model alone takes for them.

What the service adds to the model, reading and decoding pictures, waiting for its turn, writing shapes and the reply,
shows as the share of the model's own speed that is left.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from PIL import Image

from benchmarks.interactive import LABELS, NAMES, picture
from benchmarks.predict_requests import body, predict
from benchmarks.report import Table
from benchmarks.servers import serving
from benchmarks.sizes import predictor_of_size

IN_A_REQUEST = (1, 4, 16)
PICTURES = 16
"""Of each row, all unseen."""

WARMING = 3


def model_alone(device: str) -> float:
    """Pictures a second, encoded and asked for all labels, one after the other in this process."""
    predictor = predictor_of_size("tiny", device)
    pictures = [picture(seed) for seed in range(WARMING + PICTURES)]
    begun = 0.0
    for number, image in enumerate(pictures):
        if number == WARMING:
            begun = perf_counter()
        predictor.answer(predictor.encode(image), LABELS)
    return PICTURES / (perf_counter() - begun)


def suite(_sizes: Sequence[str], device: str) -> list[Table]:
    """Its table; of the shipped model only."""
    alone = model_alone(device)
    rows: list[tuple[str | float, ...]] = [("the model alone", alone, 1.0)]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        data_dir = root / "data"
        data_dir.mkdir()
        with serving(data_dir, root / "serve.log", local_files_root=root, device=device) as address:
            number = 0
            for count in (0, *IN_A_REQUEST):  # the first is only to warm up
                tasks = []
                for _ in range(PICTURES if count else WARMING):
                    number += 1
                    tasks.append((number, root / f"{number}.jpg"))
                    Image.fromarray(picture(1000 + number)).save(tasks[-1][1], quality=90)
                begun = perf_counter()
                step = count or 1
                for first in range(0, len(tasks), step):
                    predict(address, body(tasks[first : first + step], labels=NAMES))
                rate = len(tasks) / (perf_counter() - begun)
                if count:
                    rows.append((f"{count} tasks in a request", rate, rate / alone))
    columns = ("", "pictures/s", "of the model alone")
    return [Table(f"Pre-labels of {len(NAMES)} labels, {PICTURES} unseen pictures a row", columns, tuple(rows))]
