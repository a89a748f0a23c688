"""Which mask the queries vote for, given clicks, strokes and boxes."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.model.interactive_choice import at_clicks, vote
from xsam_backend.model.picture_frame import PictureFrame

# Twice the padded frame, which is twice the cells: a click at (x, y) is in cell (x / 4, y / 4).
FRAME = PictureFrame(padded_hw=(16, 16), scaled_hw=(16, 12), size_hw=(32, 24))
LEFT, RIGHT, WHOLE, SMALL = (0, 0, 3, 8), (3, 0, 6, 8), (0, 0, 6, 8), (1, 1, 3, 3)
IN_LEFT, IN_RIGHT, IN_SMALL = (2.0, 20.0), (20.0, 20.0), (8.0, 8.0)


def box_logits(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    logits = torch.full((len(boxes), 8, 8), -20.0)
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        logits[index, y0:y1, x0:x1] = 20.0
    return logits


def clicks(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float64).reshape(-1, 2)


def region(*cells: tuple[int, int, int, int]) -> torch.Tensor:
    drawn = torch.zeros(16, 16, dtype=torch.bool)
    for x0, y0, x1, y1 in cells:
        drawn[2 * y0 : 2 * y1, 2 * x0 : 2 * x1] = True
    return drawn


def assert_covers(mask: torch.Tensor, *cells: tuple[int, int, int, int]) -> None:
    """Cell by cell of the decoder, by majority; between two centres the border may lie anywhere."""
    assert mask.shape == (32, 24)
    shares = mask.float().unfold(0, 4, 4).unfold(1, 4, 4).mean((2, 3))
    assert torch.equal(shares > 0.5, region(*cells)[::2, :12:2])


CANDIDATES = (LEFT, RIGHT, WHOLE, SMALL)


def voted(
    scores: torch.Tensor, logits: torch.Tensor, hinted: torch.Tensor, **hints: Any
) -> tuple[torch.Tensor, float]:
    """Mask and score."""
    found = vote(scores, logits, FRAME, hinted, **hints)
    return torch.from_numpy(found.mask(FRAME)), found.score


@pytest.mark.parametrize(
    ("scores", "clicked", "chosen"),
    [
        ((0.9, 0.8, 0.5, 0.6), [IN_RIGHT], RIGHT),  # the best that covers the click
        ((0.9, 0.7, 0.8, 0.6), [IN_RIGHT], WHOLE),
        ((0.9, 0.8, 0.1, 0.6), [IN_LEFT, IN_RIGHT], WHOLE),  # only one covers both, however bad its score
        ((0.0, 0.0, 0.0, 0.0), [IN_LEFT, IN_RIGHT], WHOLE),  # no score at all: clicks still decide
    ],
)
def test_clicks_decide(
    scores: tuple[float, ...], clicked: list[tuple[float, float]], chosen: tuple[int, int, int, int]
) -> None:
    mask, score = voted(torch.tensor(scores), box_logits(*CANDIDATES), region(chosen), clicks_xy=clicks(*clicked))
    assert_covers(mask, chosen)
    assert 0 <= score <= max(scores)


def test_where_no_query_is_sure_the_common_part_is_the_mask() -> None:
    """Three that overlap in one cell, none better than another: pixels that most of them hold."""
    mask, score = voted(
        torch.tensor([0.4, 0.4, 0.4]),
        box_logits((0, 0, 3, 3), (1, 0, 4, 3), (2, 0, 5, 3)),
        region((2, 1, 3, 2)),
        clicks_xy=clicks((10.0, 6.0)),
    )
    assert_covers(mask, (1, 0, 4, 3))
    assert score == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("scores", "box"),
    [
        ((0.9, 0.8, 0.7, 0.6), RIGHT),  # the box decides, not the score
        ((0.9, 0.1, 0.7, 0.6), RIGHT),
        ((0.3, 0.9, 0.8, 0.9), LEFT),
        ((0.9, 0.9, 0.8, 0.1), SMALL),
    ],
)
def test_an_outline_decides_by_its_extent(scores: tuple[float, ...], box: tuple[int, int, int, int]) -> None:
    mask, _ = voted(torch.tensor(scores), box_logits(*CANDIDATES), region(box), is_outline=True)
    assert_covers(mask, box)


def test_a_stroke_means_what_it_lies_in_not_what_is_of_its_size() -> None:
    mask, _ = voted(torch.tensor([0.9, 0.8, 0.7, 0.1]), box_logits(*CANDIDATES), region(SMALL))
    assert_covers(mask, LEFT)


def test_an_outline_takes_in_what_is_only_likely_but_not_everything() -> None:
    logits = torch.full((1, 8, 8), -20.0)
    logits[0, :4, :6], logits[0, 4:, :6] = -0.4, -3.0
    scores = torch.tensor([0.9])
    outlined, _ = voted(scores, logits, region(WHOLE), is_outline=True)
    assert_covers(outlined, (0, 0, 6, 4))
    stroked, _ = voted(scores, logits, region(WHOLE))
    assert not stroked.any()


def test_a_click_is_taken_in() -> None:
    """One query, surest at the top: the cut moves to where the click wants it."""
    logits = torch.full((1, 8, 8), -20.0)
    logits[0, :3], logits[0, 3:6], logits[0, 6:] = 4.0, 1.0, -1.0
    low, middle, top = (10.0, 30.0), (10.0, 18.0), (10.0, 6.0)
    for clicked in ([top], [middle], [low], [top, low]):
        mask, _ = voted(torch.tensor([0.9]), logits, region(WHOLE), clicks_xy=clicks(*clicked))
        assert all(mask[int(y), int(x)] for x, y in clicked), clicked


@pytest.mark.parametrize("hints", [{}, {"is_outline": True}, {"clicks_xy": clicks(IN_RIGHT)}])
def test_log_odds_are_above_zero_where_the_mask_is(hints: dict[str, Any]) -> None:
    found = vote(torch.tensor([0.9, 0.4, 0.7, 0.1]), 0.1 * box_logits(*CANDIDATES), FRAME, region(RIGHT), **hints)
    assert torch.equal(found.log_odds > 0, found.mean > found.cut)
    assert torch.isfinite(found.log_odds).all()


def test_a_click_on_nothing_does_not_mean_everything() -> None:
    mask, _ = voted(torch.tensor([0.9]), box_logits(LEFT), region(RIGHT), clicks_xy=clicks(IN_RIGHT))
    assert_covers(mask, LEFT)


def test_empty_masks_are_worth_nothing() -> None:
    logits = torch.cat([torch.full((1, 8, 8), -20.0), box_logits(LEFT)])
    mask, score = voted(torch.tensor([1.0, 0.1]), logits, region(LEFT), clicks_xy=clicks(IN_LEFT))
    assert_covers(mask, LEFT)
    assert score == pytest.approx(0.1, rel=1e-3)


def test_what_shows_only_in_the_padding_is_worth_nothing() -> None:
    mask, score = voted(torch.tensor([1.0, 0.1]), box_logits((6, 0, 8, 8), LEFT), region(LEFT))
    assert_covers(mask, LEFT)
    assert score == pytest.approx(0.1, rel=1e-3)


@given(st.floats(0, 24, exclude_max=True), st.floats(0, 32, exclude_max=True))
def test_clicks_land_in_their_cell(x: float, y: float) -> None:
    """Well inside a cell of a one-cell mask it is covered, well outside it isn't."""
    cell_x, cell_y = int(x // 4), int(y // 4)
    near = [x - 4 * cell_x, y - 4 * cell_y]
    logits = box_logits((cell_x, cell_y, cell_x + 1, cell_y + 1))
    # Interpolated, the mask is a diamond of half a cell around the centre; its square core is safe.
    if all(1.2 < part < 2.8 for part in near):
        assert (at_clicks(logits, FRAME, clicks((x, y))) > 0).all()
    assert not (at_clicks(logits, FRAME, clicks(((x + 12) % 24, (y + 16) % 32))) > 0).any()


@pytest.mark.parametrize("count", [1, 40, 134, 141, 147, 155])
def test_scores_of_sure_queries_stay_scores(count: int) -> None:
    """Weights add up to 1 but for rounding, which goes up for some of these numbers."""
    logits = box_logits(*[LEFT] * count)
    _, score = voted(torch.ones(count), logits, region(LEFT), clicks_xy=clicks(IN_LEFT))
    assert 0.999 < score <= 1


def test_half_precision_goes_in() -> None:
    mask, _ = voted(
        torch.tensor([0.9, 0.8]).bfloat16(),
        box_logits(LEFT, RIGHT).bfloat16(),
        region(RIGHT),
        clicks_xy=clicks(IN_RIGHT),
    )
    assert_covers(mask, RIGHT)
