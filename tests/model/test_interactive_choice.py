"""Which mask is chosen for clicks and boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.model.interactive_choice import NO_CLICKS, choose_interactive, clicked
from xsam_backend.model.postprocess import PictureFrame

# Twice the padded frame, which is twice the cells: a click at (x, y) is in cell (x / 4, y / 4).
FRAME = PictureFrame(padded_hw=(16, 16), scaled_hw=(16, 12), size_hw=(32, 24))
LEFT, RIGHT, WHOLE, SMALL = (0, 0, 3, 8), (3, 0, 6, 8), (0, 0, 6, 8), (1, 1, 2, 2)
IN_LEFT, IN_RIGHT, IN_SMALL = (2.0, 20.0), (20.0, 20.0), (6.0, 6.0)


def box_logits(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    logits = torch.full((len(boxes), 8, 8), -20.0)
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        logits[index, y0:y1, x0:x1] = 20.0
    return logits


def clicks(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float64).reshape(-1, 2)


@pytest.mark.parametrize(
    ("scores", "positives", "negatives", "chosen"),
    [
        ((0.9, 0.8, 0.7, 0.6), [], [], LEFT),  # nothing but scores
        ((0.9, 0.8, 0.7, 0.6), [IN_RIGHT], [], RIGHT),  # the best that covers the click
        ((0.9, 0.8, 0.7, 0.6), [IN_LEFT, IN_RIGHT], [], WHOLE),  # only one covers both
        ((0.6, 0.8, 0.9, 0.7), [IN_LEFT], [IN_RIGHT], LEFT),  # the negative click rules out the whole
        ((0.9, 0.1, 0.8, 0.7), [IN_SMALL], [IN_LEFT], SMALL),
        ((0.9, 0.2, 0.1, 0.1), [IN_RIGHT], [], LEFT),  # the others cover it but are not plausible
        ((0.9, 0.8, 0.7, 0.6), [IN_RIGHT], [IN_RIGHT], LEFT),  # contradictory clicks: each breaks one, scores decide
        ((0.0, 0.0, 0.0, 0.0), [IN_RIGHT], [], RIGHT),  # no score at all: clicks still decide
    ],
)
def test_clicks_decide_between_plausible_masks(
    scores: tuple[float, ...],
    positives: list[tuple[float, float]],
    negatives: list[tuple[float, float]],
    chosen: tuple[int, int, int, int],
) -> None:
    candidates = (LEFT, RIGHT, WHOLE, SMALL)
    found = choose_interactive(
        torch.tensor(scores),
        box_logits(*candidates),
        FRAME,
        positives_xy=clicks(*positives),
        negatives_xy=clicks(*negatives),
    )
    assert [candidates[index] for index in found.query_indices.tolist()] == [chosen]
    assert found.masks.shape == (1, 32, 24)


@pytest.mark.parametrize(
    ("scores", "box", "chosen"),
    [
        ((0.9, 0.8, 0.7, 0.6), RIGHT, RIGHT),  # the box decides, not the score
        ((0.9, 0.4, 0.7, 0.6), RIGHT, WHOLE),  # below the threshold the fitting one is out
        ((0.6, 0.4, 0.1, 0.1), RIGHT, LEFT),  # the only one that reaches it, though its box doesn't fit at all
        ((0.3, 0.2, 0.25, 0.1), RIGHT, LEFT),  # none reaches it: the best one alone, as in the reference
    ],
)
def test_a_box_decides_by_its_extent(
    scores: tuple[float, ...], box: tuple[int, int, int, int], chosen: tuple[int, int, int, int]
) -> None:
    candidates = (LEFT, RIGHT, WHOLE, SMALL)
    x0, y0, x1, y1 = (2 * cell for cell in box)
    extent = torch.zeros(16, 16, dtype=torch.bool)
    extent[y0:y1, x0:x1] = True
    found = choose_interactive(torch.tensor(scores), box_logits(*candidates), FRAME, extent=extent)
    assert [candidates[index] for index in found.query_indices.tolist()] == [chosen]


def test_alternatives_come_best_first_and_no_more_than_there_are() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7, 0.1])
    found = choose_interactive(
        scores, box_logits(LEFT, RIGHT, WHOLE, SMALL), FRAME, positives_xy=clicks(IN_RIGHT), limit=9
    )
    assert found.query_indices.tolist() == [1, 2, 0, 3]


def test_empty_masks_are_worth_nothing() -> None:
    logits = torch.cat([torch.full((1, 8, 8), -20.0), box_logits(LEFT)])
    found = choose_interactive(torch.tensor([1.0, 0.1]), logits, FRAME)
    assert found.query_indices.tolist() == [1]


def test_what_shows_only_in_the_padding_is_worth_nothing() -> None:
    found = choose_interactive(torch.tensor([1.0, 0.1]), box_logits((6, 0, 8, 8), LEFT), FRAME)
    assert found.query_indices.tolist() == [1]


@given(st.floats(0, 24, exclude_max=True), st.floats(0, 32, exclude_max=True))
def test_clicks_land_in_their_cell(x: float, y: float) -> None:
    """Well inside a cell of a one-cell mask it is covered, well outside it isn't."""
    cell_x, cell_y = int(x // 4), int(y // 4)
    near = [x - 4 * cell_x, y - 4 * cell_y]
    logits = box_logits((cell_x, cell_y, cell_x + 1, cell_y + 1))
    # Interpolated, the mask is a diamond of half a cell around the centre; its square core is safe.
    if all(1.2 < part < 2.8 for part in near):
        assert clicked(logits, FRAME, clicks((x, y))).all()
    assert not clicked(logits, FRAME, clicks(((x + 12) % 24, (y + 16) % 32))).any()


def test_no_clicks_break_nothing() -> None:
    assert clicked(box_logits(LEFT, RIGHT), FRAME, NO_CLICKS).shape == (2, 0)


def test_half_precision_goes_in() -> None:
    found = choose_interactive(
        torch.tensor([0.9, 0.8]).bfloat16(),
        box_logits(LEFT, RIGHT).bfloat16(),
        FRAME,
        positives_xy=clicks(IN_RIGHT),
    )
    assert found.query_indices.tolist() == [1]
    assert found.scores.dtype == torch.float32
