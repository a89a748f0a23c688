"""The "batch" suite: pictures pre-labelled in a second, over HTTP, beside what the model alone takes for them.

What the service adds to the model, reading and decoding pictures, waiting for its turn, writing shapes and the reply,
shows as the share of the model's own speed that is left.

A second table says whether encoding several pictures in one pass pays: bulk work encodes one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from PIL import Image

from benchmarks.interactive import LABELS, NAMES, picture
from benchmarks.predict_requests import body, predict
from benchmarks.report import Table, medians
from benchmarks.servers import serving
from benchmarks.sizes import predictor_of_size

IN_A_REQUEST = (1, 4, 16)
PICTURES = 16
"""Of each row, all unseen."""

WARMING = 3
IN_A_PASS = (1, 2, 4)
PASSES = 9
"""Rounds of the second table."""


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


def in_one_pass(device: str) -> Table:
    """Encoders, connector, pixel decoder and prefix, for as many pictures in each row, some or all in one pass."""
    predictor = predictor_of_size("tiny", device)
    pictures = [picture(seed) for seed in range(max(IN_A_PASS))]

    @torch.inference_mode()
    def encode(together: int) -> None:
        for first in range(0, len(pictures), together):
            predictor.dialogue.encode(pictures[first : first + together])

    took = medians(PASSES, {str(together): partial(encode, together) for together in IN_A_PASS})
    ms = {together: took[str(together)] / len(pictures) * 1000 for together in IN_A_PASS}
    return Table(
        "Pictures encoded in one pass",
        ("pictures", "ms per picture", "of one by one"),
        tuple((str(together), each, each / ms[1]) for together, each in ms.items()),
        f"tiny; medians of {PASSES} rounds, by turns, {len(pictures)} pictures of 640 x 480 in each.",
    )


def suite(_sizes: Sequence[str], device: str) -> list[Table]:
    """Its tables; of the shipped model only."""
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
    served = Table(f"Pre-labels of {len(NAMES)} labels, {PICTURES} unseen pictures a row", columns, tuple(rows))
    return [served, in_one_pass(device)]
