"""Windows for a closer look, and how what they show comes together."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import noise_picture, small_predictor

from xsam_backend.instances import Instances
from xsam_backend.model import predictor as predictors
from xsam_backend.model.tiles import MANY, OVERLAP, in_picture, joined, tile_windows
from xsam_backend.prompts import Box, Category, Prompt, Task

SIZE = (200, 300)


def squares(*boxes: tuple[int, int, int, int], size_hw: tuple[int, int] = SIZE, score: float = 0.9) -> Instances:
    """(x, y, width, height) each, label "cell", scores falling a little."""
    masks = np.zeros((len(boxes), *size_hw), np.bool_)
    for mask, (x, y, width, height) in zip(masks, boxes, strict=True):
        mask[y : y + height, x : x + width] = True
    scores = np.array([score - 0.001 * number for number in range(len(boxes))], np.float32)
    return Instances(masks, scores, ("cell",) * len(boxes))


def many(side: int, count: int = MANY) -> Instances:
    return squares(*((number * 31 % 250, number * 17 % 150, side, side) for number in range(count)))


@pytest.mark.parametrize(
    ("found", "most", "windows"),
    [
        pytest.param(many(20), 3, 9, id="small ones"),
        pytest.param(many(25), 3, 4, id="not so small ones: 2 x 2 will do"),
        pytest.param(many(4), 3, 9, id="tiny ones: no more than allowed"),
        pytest.param(many(40), 3, 0, id="large ones"),
        pytest.param(many(20, MANY - 1), 3, 0, id="a few"),
        pytest.param(many(20), 0, 0, id="never"),
        pytest.param(Instances.empty(SIZE), 3, 0, id="nothing"),
    ],
)
def test_when_to_look_closer(found: Instances, most: int, windows: int) -> None:
    assert len(tile_windows(found, most)) == windows


@given(st.integers(40, 900), st.integers(40, 900), st.integers(2, 5))
def test_windows_cover_the_picture_and_overlap(height: int, width: int, most: int) -> None:
    side = max(int(0.02 * max(height, width)), 1)
    found = squares(*((0, 0, side, side) for _ in range(MANY)), size_hw=(height, width))
    windows = tile_windows(found, most)
    seen = np.zeros((height, width), int)
    for rows, columns in windows:
        seen[rows, columns] += 1
    assert seen.all()
    count = round(len(windows) ** 0.5)
    rows = sorted({(one.start, one.stop) for one, _ in windows})
    assert len(rows) == count
    for (_, stop), (start, end) in pairwise(rows):
        assert stop - start >= OVERLAP * (end - start) - 2


def test_what_an_inner_edge_cuts_is_left_to_the_neighbour() -> None:
    window = slice(0, 120), slice(100, 300)
    found = squares(
        (0, 10, 5, 5),  # at the window's left edge, inside of the picture
        (195, 10, 5, 5),  # at its right edge, which is the picture's
        (50, 0, 5, 5),  # at its top, the picture's
        (50, 115, 5, 5),  # at its bottom, inside
        (60, 60, 5, 5),
        size_hw=(120, 200),
    )
    placed = in_picture(found, window, SIZE)
    assert placed.boxes_xyxy[:, :2].tolist() == [[295, 10], [150, 0], [160, 60]]
    assert placed.size_hw == SIZE


def test_an_object_that_two_windows_show_is_there_once() -> None:
    first, second = squares((100, 50, 20, 20), score=0.7), squares((102, 50, 20, 20), score=0.8)
    found = joined(Instances.empty(SIZE), [first, second])
    assert found.scores.tolist() == pytest.approx([0.8])


def test_a_fine_mask_goes_before_a_coarse_one_and_what_no_window_shows_remains() -> None:
    whole = squares((95, 45, 40, 40), (10, 10, 80, 80), score=0.99)
    closer = squares((100, 50, 20, 20), score=0.5)
    found = joined(whole, [closer])
    assert [mask.sum() for mask in found.masks] == [6400, 400]


def test_other_labels_are_other_objects() -> None:
    cell = squares((100, 50, 20, 20))
    other = Instances(cell.masks, cell.scores, ("nucleus",))
    assert len(joined(cell, [other])) == 2


def test_neighbours_that_touch_are_two() -> None:
    assert len(joined(squares((100, 50, 20, 20), (118, 50, 20, 20)), [])) == 2


def test_a_predictor_looks_closer_where_its_config_lets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights and forced windows: whatever is found is in the picture, best first."""
    windows = [(slice(0, 60), slice(0, 80)), (slice(36, 96), slice(48, 128))]
    monkeypatch.setattr(predictors, "tile_windows", lambda found, most: windows)
    picture = noise_picture(size_hw=(96, 128))
    labels = (Category("cell", "cell"), Category("dog", "dog"))
    prompts = (
        Prompt(Task.GENERIC, categories=labels, score_threshold=0.0),
        Prompt(Task.VGD, (Box(10, 10, 20, 20),), categories=labels[:1], score_threshold=0.0),
    )
    for most, looks in ((0, 1), (2, 5)):
        predictor = small_predictor(closest_tiles=most)
        encoded: list[tuple[int, int]] = []
        encode = predictor.encode

        def counting(image: Any, encode: Any = encode, encoded: Any = encoded) -> Any:
            encoded.append(image.shape[:2])
            return encode(image)

        monkeypatch.setattr(predictor, "encode", counting)
        state = predictor.encode(picture)
        for prompt in prompts:
            found = predictor.candidates(state, prompt).instances()
            assert found.size_hw == (96, 128)
            assert len(found)
            assert (np.diff(found.scores) <= 0).all()
        assert encoded == [(96, 128), *([(60, 80)] * 2 * len(prompts) if most else [])]
        assert len(encoded) == looks
