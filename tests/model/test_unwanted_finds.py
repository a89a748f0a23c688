"""All like this, but not that one: what a negative click takes from the finds, and what it can't."""

from __future__ import annotations

import numpy as np
import pytest

from xsam_backend.instances import Instances
from xsam_backend.model.unwanted_finds import without_unwanted
from xsam_backend.prompts import Box, MaskRegion, Point, Region

SIZE = (40, 60)


def block(x: int, y: int, width: int = 8, height: int = 8) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


def pen(x: int, y: int) -> np.ndarray:
    """Diagonal: of its box it fills an eighth."""
    mask = np.zeros(SIZE, np.bool_)
    mask[np.arange(y, y + 8), np.arange(x, x + 8)] = True
    return mask


MASKS = {
    "a": block(0, 0),
    "b": block(20, 0),
    "c": block(40, 0),
    "a and b": block(0, 0, 28, 8),
    "handle of a": block(0, 6, 2, 2),
    "pen": pen(0, 20),
}
NOT_B = Point(24, 4, positive=False)
STAYS = "a negative click is on the example's own find, which stays"


def found(*names: str) -> Instances:
    scores = np.linspace(0.9, 0.5, len(names), dtype=np.float32)
    return Instances.of(np.stack([MASKS[name] for name in names]), scores, names)


@pytest.mark.parametrize(
    ("finds", "regions", "left", "reason"),
    [
        (["a", "b", "c"], [Point(4, 4), NOT_B], ["a", "c"], ""),
        (["a", "b", "c"], [Point(4, 4), NOT_B, Point(44, 4, positive=False)], ["a"], ""),
        (["a", "b"], [Point(4, 4), Point(34, 30, positive=False)], ["a", "b"], ""),
        (["a", "b"], [Point(4, 4), Point(2, 2, positive=False)], ["a", "b"], STAYS),
        (["a and b", "b", "c"], [Point(4, 4), NOT_B], ["a and b", "c"], ""),
        (["a and b", "a", "c"], [Point(4, 4), NOT_B], ["a", "c"], ""),
        (["a", "handle of a"], [Point(4, 4), Point(1, 7, positive=False)], ["a"], ""),
        (["b", "a"], [Point(24, 2), Point(4, 2), NOT_B], ["b", "a"], STAYS),
        (["b"], [Point(4, 4), NOT_B], [], "negative clicks are on all 1 that are like it"),
        (["a", "b"], [Box(1, 1, 7, 7), Point(2, 2, positive=False)], ["a", "b"], STAYS),
        (["pen", "b"], [Box(0, 20, 8, 8), Point(2.5, 22.5, positive=False)], ["pen", "b"], STAYS),
        (["a and b", "b"], [MaskRegion(block(2, 3, 4, 1)), NOT_B], ["a and b"], ""),
        (["c"], [Point(44, 4), Point(60, 40, positive=False)], ["c"], ""),
    ],
    ids=[
        "not that one",
        "nor that one",
        "a click beside all",
        "the example itself",
        "the example's, with another one: the better of those hit that shows it",
        "unless something else shows the example",
        "a part of the example",
        "an example of two",
        "the example wasn't found",
        "a box's own find",
        "a box's own find that fills little of it",
        "a stroke's own find",
        "at the picture's very corner",
    ],
)
def test_what_a_negative_click_takes_away(
    finds: list[str], regions: list[Region], left: list[str], reason: str
) -> None:
    answer = without_unwanted(found(*finds), regions)
    assert list(answer.instances.labels) == left
    assert answer.reason == reason


def test_of_nothing_nothing_is_taken() -> None:
    answer = without_unwanted(Instances.empty(SIZE), [Point(4, 4), NOT_B])
    assert (len(answer.instances), answer.reason) == (0, "")
