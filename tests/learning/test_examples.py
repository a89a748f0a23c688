"""Which accepted objects are shown to the model as examples of their labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from xsam_backend.learning.choosing import Choice
from xsam_backend.learning.examples import PICTURES, examples_of
from xsam_backend.store.tasks import TaskPicture

SIZE = (100, 200)


def square(number: int, side_px: int, label: str = "cat", **more: Any) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "value": {
            "x": 5.0,
            "y": 10.0,
            "width": side_px / 2,
            "height": side_px,
            "rotation": 0,
            "rectanglelabels": [label],
        },
        **more,
    }


def choice(number: int, *regions: dict[str, Any], copied: bool = True) -> Choice:
    picture = TaskPicture("image", None, None, f"{number:064x}" if copied else None, SIZE if copied else None)
    return Choice(number, number, picture, regions, {}, (), number)


def test_the_middle_ones_of_each_label() -> None:
    sides = (4, 8, 12, 16, 40)
    cats = [square(number, side) for number, side in enumerate(sides)]
    found = examples_of([choice(1, *cats, square(9, 20, "dog"))], ["cat", "dog", "cow"])
    assert [(one.label, round(np.sqrt(one.region.mask.sum()))) for one in found] == [
        ("cat", 12),
        ("cat", 8),
        ("cat", 16),
        ("dog", 20),
    ]
    assert {one.sha256 for one in found} == {f"{1:064x}"}
    assert {one.region.mask.shape for one in found} == {SIZE}


def test_the_first_pictures_that_have_some() -> None:
    without = choice(0, square(0, 10, "dog"))
    many = [choice(number, square(number, 10)) for number in range(1, PICTURES + 3)]
    found = examples_of([without, *many], ["cat"])
    assert [int(one.sha256, 16) for one in found] == list(range(1, PICTURES + 1))


def test_what_is_no_object_is_no_example() -> None:
    prompt = square(1, 10, is_positive=True)
    unlabelled = {**square(2, 10), "value": {**square(2, 10)["value"], "rectanglelabels": []}}
    assert examples_of([choice(1, prompt, unlabelled), choice(2, square(3, 10), copied=False)], ["cat"]) == ()
    assert examples_of([], ["cat"]) == ()
    assert examples_of([choice(1, square(1, 10))], []) == ()
