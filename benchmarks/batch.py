"""The "batch" suite: pictures pre-labelled in a second, over HTTP, beside what the model alone takes for them.

What the service adds to the model, reading and decoding pictures, waiting for its turn, writing shapes and the reply,
shows as the share of the model's own speed that is left. All rows have the same pictures, each a service of its own
that hasn't seen them.

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
from benchmarks.sizes import model_folder_of_size, predictor_of_size

IN_A_REQUEST = (1, 4, 16)
PICTURES = {"tiny": 16, "mid": 4}
"""Of each row, all unseen. Requests of more tasks are left out."""

IN_A_PASS = (1, 2, 4)
PASSES = 9
"""Rounds of the second table."""

WARMING = {"tiny": 3, "mid": 1}
"""Pictures before them, which aren't counted."""

LIMIT_S = 500
"""For one request: the service leaves what doesn't fit into its own limit to the next one."""


def model_alone(size: str, device: str) -> float:
    """Pictures a second, encoded and asked for all labels, one after the other in this process."""
    predictor = predictor_of_size(size, device)
    begun = 0.0
    for number, image in enumerate(map(picture, range(WARMING[size] + PICTURES[size]))):
        if number == WARMING[size]:
            begun = perf_counter()
        predictor.answer(predictor.encode(image), LABELS)
    return PICTURES[size] / (perf_counter() - begun)


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


def served(address: str, tasks: Sequence[tuple[int, Path]], in_a_request: int) -> float:
    """Pictures a second, so many in a request, one request after the other.

    Raises:
        ValueError: a task has no prediction.
    """
    begun = perf_counter()
    for first in range(0, len(tasks), in_a_request):
        for entry in predict(address, body(tasks[first : first + in_a_request], labels=NAMES)):
            if "result" not in entry:
                raise ValueError(f"expected a prediction for each task, got {entry}")
    return len(tasks) / (perf_counter() - begun)


def suite(sizes: Sequence[str], device: str) -> list[Table]:
    """Its tables; the second is of the shipped model only."""
    rows: list[tuple[str | float, ...]] = []
    for size in sizes:
        alone = model_alone(size, device)
        rows.append((size, "the model alone", alone, 1.0))
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            model = model_folder_of_size(size, root / "model")
            tasks = []
            for number in range(WARMING[size] + PICTURES[size]):
                tasks.append((number + 1, root / f"{number}.jpg"))
                Image.fromarray(picture(number)).save(tasks[-1][1], quality=90)
            warming, counted = tasks[: WARMING[size]], tasks[WARMING[size] :]
            for count in IN_A_REQUEST:
                if count > len(counted):
                    continue
                data_dir = root / f"data-{count}"
                data_dir.mkdir()
                settings = {"local_files_root": root, "device": device, "model": model, "batch_limit_s": LIMIT_S}
                with serving(data_dir, root / f"serve-{count}.log", **settings) as address:
                    served(address, warming, 1)
                    rate = served(address, counted, count)
                rows.append((size, f"{count} tasks in a request", rate, rate / alone))
    pictures = ", ".join(f"{PICTURES[size]} ({size})" for size in sizes)
    note = (
        f"{pictures} pictures, unseen and the same for each row. A request's tasks are answered one after the other, "
        "for the model runs one stage at a time; only fetching and decoding goes ahead, on the model's own cores "
        "where it runs on the CPU. So a request of several tasks saves the pauses between requests, and no more."
    )
    columns = ("size", "", "pictures/s", "of the model alone")
    return [Table(f"Pre-labels of {len(NAMES)} labels", columns, tuple(rows), note), in_one_pass(device)]
