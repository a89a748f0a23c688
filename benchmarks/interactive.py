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
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.predictor import Predictor
from xsam_backend.prompts import Category, Point, Prompt, Task
from xsam_backend.scenes.scene import draw_scene

SIZE_WH = (640, 480)
NAMES = ("ball", "box", "cat", "tree", "sky")
LABELS = Prompt(Task.GENERIC, categories=tuple(Category(name, name) for name in NAMES))
ROUNDS = {"tiny": 15, "mid": 5}


def picture(seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (480, 640, 3), drawn."""
    return draw_scene(seed, SIZE_WH[::-1]).image


def click_at(x_share: float, y_share: float) -> Prompt:
    """A click, in shares of the picture."""
    return Prompt(Task.INTERACTIVE, (Point(x_share * SIZE_WH[0], y_share * SIZE_WH[1]),))


def encoded(predictor: Predictor, image: NDArray[np.uint8]) -> ImageState:
    """As a cold picture is, through its three stages."""
    state = predictor.state(image, predictor.look(image))
    return state.with_prefix(predictor.prefix(state))


def suite(sizes: Sequence[str], device: str) -> list[Table]:
    """Its tables."""
    clicks, stages, plain = [], [], []
    for size in sizes:
        predictor = predictor_of_size(size, device)
        image, rounds = picture(), ROUNDS[size]
        outputs = predictor.look(image)
        bare = predictor.state(image, outputs)
        warm = bare.with_prefix(predictor.prefix(bare))
        works: dict[str, Callable[[], Any]] = {
            "cold click": lambda predictor=predictor, image=image: predictor.answer(
                encoded(predictor, image), click_at(0.5, 0.5)
            ),
            "warm click": lambda predictor=predictor, warm=warm: predictor.answer(warm, click_at(0.5, 0.5)),
            "labels, warm": lambda predictor=predictor, warm=warm: predictor.answer(warm, LABELS),
            "labels, cold": lambda predictor=predictor, image=image: predictor.answer(
                encoded(predictor, image), LABELS
            ),
            "look": lambda predictor=predictor, image=image: predictor.look(image),
            "state": lambda predictor=predictor, image=image, outputs=outputs: predictor.state(image, outputs),
            "prefix": lambda predictor=predictor, bare=bare: predictor.prefix(bare),
        }
        if not predictor.model.config.close_up_share:
            point = Point(0.5 * SIZE_WH[0], 0.5 * SIZE_WH[1])
            works["plain"] = lambda predictor=predictor, image=image, point=point: plain_click(
                predictor, image, point
            )
        took = medians(rounds, works)
        ms = {name: seconds * 1000 for name, seconds in took.items()}
        clicks.append(
            (
                size,
                ms["cold click"],
                ms["warm click"],
                took["cold click"] / took["warm click"],
                ms["labels, warm"],
                ms["labels, cold"],
                warm.nbytes / 2**20,
            )
        )
        stages.append((size, ms["look"], ms["state"], ms["prefix"], ms["warm click"]))
        if "plain" in took:
            ours = predictor.answer(warm, click_at(0.5, 0.5)).instances.masks
            theirs = plain_click(predictor, image, point)
            iou = mask_iou(ours[0] if len(ours) else np.zeros_like(theirs), theirs)
            plain.append((size, ms["plain"], ms["warm click"], took["plain"] / took["warm click"], iou))
    note = f"Medians of {', '.join(f'{ROUNDS[size]} ({size})' for size in sizes)} rounds, by turns; 640 x 480."
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
