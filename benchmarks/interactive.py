"""The "interactive" suite: clicks on cold and warm pictures, stage by stage, by size, and beside the plain path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.plain_path import plain_click
from benchmarks.report import Table, medians
from benchmarks.sizes import predictor_of_size
from xsam_backend.geometry.masks import mask_iou
from xsam_backend.prompts import Category, Point, Prompt, Task
from xsam_backend.scenes.scene import draw_scene

SIZE_WH = (640, 480)
NAMES = ("ball", "box", "cat", "tree", "sky")
MIDDLE = Point(SIZE_WH[0] / 2, SIZE_WH[1] / 2)
CLICK = Prompt(Task.INTERACTIVE, (MIDDLE,))
PHRASES = tuple(
    Prompt(Task.REFERRING, phrase=f"the {name} on the {side}") for name in NAMES[:4] for side in ("left", "right")
)
LABELS = Prompt(Task.GENERIC, categories=tuple(Category(name, name) for name in NAMES))
ROUNDS = {"tiny": 15, "mid": 5}


def picture(seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (480, 640, 3), drawn."""
    return draw_scene(seed, SIZE_WH[::-1]).image


def suite(sizes: Sequence[str], device: str) -> list[Table]:
    """Its tables."""
    clicks, stages, together, plain = [], [], [], []
    for size in sizes:
        predictor = predictor_of_size(size, device)
        image, rounds = picture(), ROUNDS[size]
        outputs = predictor.look(image)
        bare = predictor.state(image, outputs)
        warm = bare.with_prefix(predictor.prefix(bare))
        works: dict[str, Callable[[], Any]] = {
            "look": lambda predictor=predictor, image=image: predictor.look(image),
            "state": lambda predictor=predictor, image=image, outputs=outputs: predictor.state(image, outputs),
            "prefix": lambda predictor=predictor, bare=bare: predictor.prefix(bare),
            "click": lambda predictor=predictor, warm=warm: predictor.answer(warm, CLICK),
            "labels": lambda predictor=predictor, warm=warm: predictor.answer(warm, LABELS),
            "phrases": lambda predictor=predictor, warm=warm: predictor.answers(warm, PHRASES),
            "one by one": lambda predictor=predictor, warm=warm: [predictor.answer(warm, one) for one in PHRASES],
        }
        if not predictor.model.config.close_up_share:
            works["plain"] = lambda predictor=predictor, image=image: plain_click(predictor, image, MIDDLE)
        took = medians(rounds, works)
        ms = {name: seconds * 1000 for name, seconds in took.items()}
        encoding = ms["look"] + ms["state"] + ms["prefix"]
        cold = encoding + ms["click"]
        megabytes = warm.nbytes / 2**20
        clicks.append((size, cold, ms["click"], cold / ms["click"], ms["labels"], encoding + ms["labels"], megabytes))
        together.append((size, ms["phrases"], ms["one by one"], ms["one by one"] / ms["phrases"]))
        stages.append((size, ms["look"], ms["state"], ms["prefix"], ms["click"]))
        if "plain" in took:
            ours = predictor.answer(warm, CLICK).instances.masks
            theirs = plain_click(predictor, image, MIDDLE)
            iou = mask_iou(ours[0] if len(ours) else np.zeros_like(theirs), theirs)
            plain.append((size, ms["plain"], ms["click"], took["plain"] / took["click"], iou))
    rounds_said = ", ".join(f"{ROUNDS[size]} ({size})" for size in sizes)
    note = f"Medians of {rounds_said} rounds, by turns; 640 x 480. Cold is the sum of the stages below."
    tables = [
        Table(
            "Clicks, ms",
            ("size", "cold", "warm", "cold / warm", "5 labels, warm", "5 labels, cold", "state, MiB"),
            tuple(clicks),
            note,
        ),
        Table(
            "Stages, ms",
            ("size", "look (encoders)", "state", "prefix", "answer"),
            tuple(stages),
            "The first three depend on the picture only.",
        ),
        Table(
            f"{len(PHRASES)} phrases about one warm picture, ms",
            ("size", "in one pass", "one by one", "ratio"),
            tuple(together),
        ),
    ]
    if plain:
        tables.append(
            Table(
                "A click beside the plain path, ms",
                ("size", "plain", "warm", "plain / warm", "IoU of both masks"),
                tuple(plain),
            )
        )
    return tables
