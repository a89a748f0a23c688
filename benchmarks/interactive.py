"""The "interactive" suite: clicks on cold and warm pictures, stage by stage and module by module, by size, and beside
the plain path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import module_times, plain_path
from benchmarks.report import Table, medians
from benchmarks.sizes import predictor_of_size
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.predictor import Predictor
from xsam_backend.prompts import Box, Category, Point, Prompt, Task
from xsam_backend.scenes.scene import draw_scene

SIZE_WH = (640, 480)
NAMES = ("ball", "box", "cat", "tree", "sky")
MIDDLE = Point(SIZE_WH[0] / 2, SIZE_WH[1] / 2)
CLICK = Prompt(Task.INTERACTIVE, (MIDDLE,))
PHRASES = tuple(
    Prompt(Task.REFERRING, phrase=f"the {name} on the {side}") for name in NAMES[:4] for side in ("left", "right")
)
LABELS = Prompt(Task.GENERIC, categories=tuple(Category(name, name) for name in NAMES))
OTHERS = (
    Prompt(Task.INTERACTIVE, (MIDDLE, Point(100, 100, positive=False))),
    Prompt(Task.INTERACTIVE, (Box(200, 120, 240, 200),)),
    PHRASES[0],
    LABELS,
    Prompt(Task.VGD, (Box(200, 120, 240, 200),)),
)
"""One of each kind, for the profile: a further click, a box, a phrase, labels, an example."""

ROUNDS = {"tiny": 15, "mid": 5}
PLACES = tuple(Point(x, y) for x, y in ((320, 240), (100, 100), (500, 100), (100, 400), (500, 400)))
"""Of the clicks beside the plain path."""

COLOURS = ("red", "green", "blue", "white", "black", "yellow", "brown", "pink")
THINGS = ("car", "dog", "house", "bird", "boat", "horse", "chair", "lamp", "cup", "shoe", "road", "cloud")


def picture(seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (480, 640, 3), drawn."""
    return draw_scene(seed, SIZE_WH[::-1]).image


def elsewhere() -> Iterator[Prompt]:
    """Clicks all over the picture, each far from the one before."""
    for number in range(1, 10_000):  # the golden ratio and its square spread points evenly
        share_x, share_y = (number * 0.7548777) % 1, (number * 0.5698403) % 1
        yield Prompt(Task.INTERACTIVE, (Point(share_x * SIZE_WH[0], share_y * SIZE_WH[1]),))


def other_names() -> Iterator[str]:
    """Names, each different from all before."""
    for colour, thing, side in product(COLOURS, THINGS, ("", " on the left", " on the right")):
        yield f"{colour} {thing}{side}"


def suite(sizes: Sequence[str], device: str) -> list[Table]:
    """Its tables."""
    clicks, questions, stages, together, modules, plain = [], [], [], [], [], []
    for size in sizes:
        predictor = predictor_of_size(size, device)
        image = picture()
        outputs = predictor.look(image)
        bare = predictor.state(image, outputs)
        warm = bare.with_prefix(predictor.prefix(bare))
        works: dict[str, Callable[[], Any]] = {
            "look": lambda predictor=predictor, image=image: predictor.look(image),
            "state": lambda predictor=predictor, image=image, outputs=outputs: predictor.state(image, outputs),
            "prefix": lambda predictor=predictor, bare=bare: predictor.prefix(bare),
            **_answers(predictor, warm),
        }
        took = medians(ROUNDS[size], works)
        ms = {name: seconds * 1000 for name, seconds in took.items()}
        encoding = ms["look"] + ms["state"] + ms["prefix"]
        cold = encoding + ms["click"]
        ratios = (cold / ms["click"], (encoding + ms["elsewhere"]) / ms["elsewhere"])
        clicks.append((size, cold, ms["click"], ms["elsewhere"], *ratios, warm.nbytes / 2**20))
        questions.append((size, *(ms[name] for name in ("labels", "other labels", "other label", "other phrase"))))
        together.append((size, ms["phrases"], ms["one by one"], ms["one by one"] / ms["phrases"]))
        stages.append((size, ms["look"], ms["state"], ms["prefix"], ms["click"]))
        modules += _modules(size, predictor, image)
        if not predictor.model.config.close_up_share:
            plain.append(plain_path.compared(size, predictor, image, warm, PLACES))
    rounds_said = ", ".join(f"{ROUNDS[size]} ({size})" for size in sizes)
    tables = [
        Table(
            "Clicks, ms",
            ("size", "cold", "warm", "warm, another place", "cold / warm", "the same of another place", "state, MiB"),
            tuple(clicks),
            f"Medians of {rounds_said} rounds, by turns; 640 x 480. Cold is the sum of the stages below. In another "
            "place nobody clicked before; where small objects are looked at more closely (tiny), that look is new.",
        ),
        Table(
            "Stages, ms",
            ("size", "look (encoders)", "state", "prefix", "answer"),
            tuple(stages),
            "The first three depend on the picture only.",
        ),
        Table(
            "Words about one warm picture, ms",
            ("size", "the same 5 labels", "5 never asked", "one never asked", "a phrase never asked"),
            tuple(questions),
        ),
        Table(
            f"{len(PHRASES)} phrases about one warm picture, ms",
            ("size", "in one pass", "one by one", "ratio"),
            tuple(together),
        ),
        Table(
            "Modules",
            module_times.COLUMNS,
            tuple(modules),
            "One click each, after one that isn't counted; a module's own time. The other questions: a further "
            "click, a box, a phrase, 5 labels, an example. Closer looks at windows were taken before.",
        ),
    ]
    if plain:
        note = "Medians, by turns, of clicks all over the drawn scene. Log odds are compared before they are cut."
        tables.append(Table("Clicks beside the plain path", plain_path.COLUMNS, tuple(plain), note))
    return tables


def _answers(predictor: Predictor, warm: ImageState) -> dict[str, Callable[[], Any]]:
    """Questions about a warm picture: the same each time, and others each time."""
    places, names = elsewhere(), other_names()

    def labels(count: int) -> Prompt:
        found = [next(names) for _ in range(count)]
        return Prompt(Task.GENERIC, categories=tuple(Category(name, name) for name in found))

    return {
        "click": lambda: predictor.answer(warm, CLICK),
        "elsewhere": lambda: predictor.answer(warm, next(places)),
        "labels": lambda: predictor.answer(warm, LABELS),
        "other labels": lambda: predictor.answer(warm, labels(len(NAMES))),
        "other label": lambda: predictor.answer(warm, labels(1)),
        "other phrase": lambda: predictor.answer(warm, Prompt(Task.REFERRING, phrase=f"the {next(names)}")),
        "phrases": lambda: predictor.answers(warm, PHRASES),
        "one by one": lambda: [predictor.answer(warm, one) for one in PHRASES],
    }


def _modules(size: str, predictor: Predictor, image: NDArray[np.uint8]) -> list[module_times.Row]:
    """The profile."""
    warm = predictor.encode(image, keeps_looks=True)
    for prompt in (CLICK, *OTHERS):
        predictor.answer(warm, prompt)
    return module_times.rows(
        size,
        predictor,
        lambda: predictor.answer(predictor.encode(image), CLICK),
        [partial(predictor.answer, warm, prompt) for prompt in (CLICK, *OTHERS)],
    )
