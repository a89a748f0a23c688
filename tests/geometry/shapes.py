"""Masks that the geometry tests share: hand-made ones with a reason each, and arbitrary ones."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from xsam_backend.geometry.masks import Mask


def from_text(*rows: str) -> Mask:
    """``from_text("#.", "##")``: '#' is True."""
    return np.array([[character == "#" for character in row] for row in rows])


TRICKY: dict[str, Mask] = {
    "one pixel": from_text("...", ".#.", "..."),
    "the only pixel there is": from_text("#"),
    "corner pixels of the picture": from_text("#..#", "....", "#..#"),
    "row, one pixel high": from_text(".....", "#####", "....."),
    "column, one pixel wide": from_text("..#..", "..#..", "..#.."),
    "diagonal line: touches only at corners": np.eye(7, dtype=bool),
    "the other diagonal": np.fliplr(np.eye(7, dtype=bool)),
    "two parts": from_text("##....", "##....", "...###", "...###"),
    "two parts that touch at a corner": from_text("##...", "##...", "..###", "..###"),
    "a hole": from_text("#####", "#...#", "#...#", "#####"),
    "two holes that touch at a corner": from_text("#####", "#.###", "##.##", "#####"),
    "a part within a hole": from_text("#####", "#...#", "#.#.#", "#...#", "#####"),
    "a hole that touches the rim at a corner": from_text("####", "#.##", "##..", "####"),
    "chessboard": np.indices((6, 7)).sum(axis=0) % 2 == 0,
    "full": np.ones((4, 6), bool),
    "empty": np.zeros((4, 6), bool),
    "wide and flat": np.arange(300)[None, :] % 7 < 4,
}


def masks(max_side: int = 24) -> st.SearchStrategy[Mask]:
    """Arbitrary masks, sides 1 to ``max_side``, not square as a rule."""
    return arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=max_side))


def blobs(size_hw: tuple[int, int], seed: int, count: int = 6) -> Mask:
    """Overlapping discs minus smaller discs: an object with bays and holes, as segmentations have."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(size_hw) + 0.5
    mask = np.zeros(size_hw, bool)
    for number in range(2 * count):
        y, x = rng.random(2) * size_hw
        radius = rng.uniform(0.1, 0.3) * min(size_hw) / (1 if number < count else 3)
        disc = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        mask = mask | disc if number < count else mask & ~disc
    return mask
