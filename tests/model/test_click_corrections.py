"""Further clicks move the mask around them, as far as the picture is alike there, and keep what earlier ones said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xsam_backend.errors import CheckpointError
from xsam_backend.model import click_refiner
from xsam_backend.model.checkpoint import load_config
from xsam_backend.model.click_corrections import CLEAR, HELD, LIMIT, Correction, corrected
from xsam_backend.model.click_refiner import CHANNELS, SHIPPED, SIDE, ClickRefiner, shipped_refiner
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.folders import SHIPPED as SHIPPED_MODELS
from xsam_backend.model.kept_cells import KeptCells
from xsam_backend.model.picture_cells import PictureCells
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.prompts import Point

SIZE = (96, 128)
FRAME = PictureFrame(padded_hw=(64, 64), scaled_hw=(48, 64), size_hw=SIZE)
"""Cells are 4 pixels of the picture; the lowest quarter of the frame is padding."""

CELLS = (32, 32)
UNTAUGHT = ClickRefiner().eval()
"""Adds nothing: what is told here is told of the kernels."""

LEFT = slice(0, 64)
"""Columns of the picture's left half, which looks unlike the right one."""


def two_halves() -> tuple[torch.Tensor, NDArray[np.uint8]]:
    """Features and pixels of a picture with a red left half and a blue right one."""
    features = torch.zeros(8, *CELLS)
    features[0, :, :16], features[1, :, 16:] = 1.0, 1.0
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:, LEFT, 0], pixels[:, 64:, 2] = 200, 200
    return features, pixels


def cells(features: torch.Tensor, pixels: NDArray[np.uint8]) -> PictureCells:
    """As a state of such a picture keeps them."""
    return KeptCells(features, pixels, FRAME).get()


def block(rows: slice = slice(0, 0), columns: slice = slice(0, 0)) -> torch.Tensor:
    """Log odds of a mask of these cells."""
    odds = torch.full(CELLS, -3.0)
    odds[rows, columns] = 3.0
    return odds


def after(odds: torch.Tensor, *clicks: Point) -> NDArray[np.bool_]:
    return corrected(odds, cells(*two_halves()), FRAME, (), clicks, UNTAUGHT)


def test_without_anything_to_correct_the_mask_stays() -> None:
    odds = block(slice(4, 12), slice(4, 12))
    untouched = after(odds)
    assert untouched[16:48, 16:48].mean() > 0.9
    assert not untouched[56:].any(), "nor is there anything elsewhere"
    for agreeing in (Point(32, 32), Point(90, 80, positive=False)):
        assert np.array_equal(after(odds, agreeing), untouched)


def test_a_click_takes_in_what_is_alike_around_it_and_nothing_else() -> None:
    before, now = after(block(slice(10, 14), slice(2, 6))), after(block(slice(10, 14), slice(2, 6)), Point(52, 48))
    gained = now & ~before
    assert gained[48, 52]
    assert gained.sum() > 400
    assert not gained[:, 70:].any(), "the other half looks unlike"
    assert not (before & ~now).any(), "nothing is lost"


def test_a_negative_click_takes_away_what_is_alike_around_it_and_nothing_else() -> None:
    whole = block(slice(0, 32), slice(0, 32))
    left = after(whole, Point(100, 48, positive=False))
    assert not left[48, 100]
    assert (~left).sum() > 400
    assert left[:, :58].all()


def test_a_click_reaches_further_the_further_the_rim_is() -> None:
    """The mask's rim is at column 32: a click beside it corrects less than one in the middle of what is wrong."""
    odds = block(slice(0, 32), slice(0, 8))
    near, far = (int((after(odds, Point(x, 48)) & ~after(odds)).sum()) for x in (37, 56))
    assert 0 < near < far / 2


def test_a_later_click_leaves_the_earlier_ones_their_spots() -> None:
    """The second one is well inside what the first one took in; so is the third in what the second one gave back."""
    clicks = [Point(32, 48), Point(36, 48, positive=False), Point(28, 52)]
    for count in range(1, len(clicks) + 1):
        mask = after(block(), *clicks[:count])
        for click in clicks[:count]:
            assert mask[int(click.y_px), int(click.x_px)] == click.positive, (count, click)


def _noisy(seed: int) -> ClickRefiner:
    """One that says anything, anywhere."""
    refiner = ClickRefiner().eval()
    torch.nn.init.normal_(refiner.head.weight, std=3.0, generator=torch.Generator().manual_seed(seed))
    return refiner


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 127), st.integers(0, 95), st.booleans()),
        min_size=1,
        max_size=8,
        unique_by=lambda c: c[:2],
    ),
    st.integers(0, 3),
)
def test_every_click_holds_at_its_pixel(clicks: list[tuple[int, int, bool]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    odds = torch.randn(CELLS, generator=generator) * 3
    features = torch.randn(8, *CELLS, generator=generator)
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
    points = [Point(x + 0.5, y + 0.5, positive) for x, y, positive in clicks]
    mask = corrected(odds, cells(features, pixels), FRAME, points[:1], points[1:], _noisy(seed))
    assert mask.shape == SIZE
    assert [bool(mask[y, x]) for x, y, _ in clicks] == [positive for *_, positive in clicks]


@pytest.mark.parametrize("odds", [block(), block(slice(0, 32), slice(0, 32))], ids=["nothing", "everything"])
def test_masks_without_a_rim_are_corrected_within_half_of_the_picture(odds: torch.Tensor) -> None:
    before = after(odds)
    assert len(np.unique(before)) == 1
    changed = after(odds, Point(32, 48, positive=not before[0, 0])) != before
    assert changed[48, 32]
    assert changed.mean() < 0.5


def test_an_opposite_click_nearby_never_makes_another_one_reach_further() -> None:
    """Made first, beside what is wrong: it says where the object ends."""
    odds, beside = block(slice(0, 32), slice(0, 8)), Point(48, 48, positive=False)
    for x in (38, 42, 46):
        alone, bounded = after(odds, Point(x, 48)), after(odds, beside, Point(x, 48))
        assert bounded[48, x]
        assert not (bounded & ~alone).any(), x


@pytest.mark.parametrize("click", [Point(128, 48), Point(64, 96), Point(128, 96), Point(0, 0)])
def test_the_pictures_rim_belongs_to_its_last_pixels(click: Point) -> None:
    """Label Studio's rounded clicks are moved onto it."""
    mask = after(block(), click)
    assert mask[min(int(click.y_px), 95), min(int(click.x_px), 127)]


@pytest.mark.parametrize("click", [Point(-1, 4), Point(200, 4), Point(4, 96.5), Point(4, -0.5)])
def test_a_click_outside_of_the_picture_is_passed_over(click: Point) -> None:
    odds = block(slice(4, 12), slice(4, 12))
    assert np.array_equal(after(odds, click), after(odds))


def test_half_precision_goes_in() -> None:
    features, pixels = two_halves()
    odds = block(slice(10, 14), slice(2, 6))
    clicks = (Point(52, 48), Point(20, 48, positive=False))
    half = corrected(odds.bfloat16(), cells(features.bfloat16(), pixels), FRAME, (), clicks, UNTAUGHT)
    assert np.array_equal(half, corrected(odds, cells(features, pixels), FRAME, (), clicks, UNTAUGHT))


def test_features_without_any_difference_leave_it_to_place_and_colour() -> None:
    _, pixels = two_halves()
    mask = corrected(block(), cells(torch.ones(8, *CELLS), pixels), FRAME, (), [Point(32, 48)], UNTAUGHT)
    assert mask[48, 32]
    assert not mask[:, 80:].any()


def correction(odds: torch.Tensor) -> Correction:
    """Of the picture's own cells, (48, 64)."""
    features, pixels = two_halves()
    own = odds[:24].numpy()  # the rest is padding
    return Correction(own, cells(features, pixels))


def test_what_a_refiner_sees_of_a_click() -> None:
    odds = block(slice(10, 14), slice(2, 6))
    one = correction(odds)
    one.click(24, 20, positive=True)
    one.click(24, 50, positive=False)
    seen = one.view()
    assert (seen.shape, seen.dtype) == ((CHANNELS, SIDE, SIDE), np.float32)
    assert np.abs(seen[:3]).max() < 3, "colours"
    before, after_kernel, kernel, like_positive, like_negative, positive, negative, last = seen[3:]
    rows, columns = one.window
    assert ((after_kernel > 0) != _resized(one.mask, one.window)).mean() < 0.02, "of the same window"
    assert after_kernel.max() <= 1
    assert (after_kernel <= before + 1e-6).all(), "the last click was negative"
    assert kernel.min() < -0.9
    assert kernel.max() <= 0
    assert like_positive.max() == pytest.approx(1, abs=0.02)
    assert like_negative.max() == pytest.approx(1, abs=0.02)
    spots = [np.unravel_index(channel.argmax(), channel.shape) for channel in (positive, negative)]
    for (row, column), spot in zip([(24, 20), (24, 50)], spots, strict=True):
        assert spot[0] == pytest.approx((row + 0.5 - rows.start) / (rows.stop - rows.start) * SIDE - 0.5, abs=1)
        assert spot[1] == pytest.approx(
            (column + 0.5 - columns.start) / (columns.stop - columns.start) * SIDE - 0.5, abs=1
        )
    assert np.array_equal(last, -negative)


def _resized(mask: NDArray[np.bool_], window: tuple[slice, slice]) -> NDArray[np.bool_]:
    return np.asarray(cv2.resize(mask[window].astype(np.float32), (SIDE, SIDE))) > 0.5


def test_what_a_refiner_adds_stays_in_its_window_within_limits_and_leaves_clicks_their_cells() -> None:
    one = correction(block(slice(10, 14), slice(2, 6)))
    one.click(24, 20, positive=True)
    one.view()
    outside = np.ones((48, 64), np.bool_)
    outside[one.window] = False
    untouched = one.log_odds[outside].copy()
    one.add(np.full((SIDE, SIDE), -100, np.float32))
    assert np.array_equal(one.log_odds[outside], untouched)
    assert one.log_odds.min() == -LIMIT
    assert one.log_odds[24, 20] == HELD
    assert one.mask.sum() == 1


def test_the_first_hints_own_clicks_are_no_corrections() -> None:
    """They hold; but what the model made of them isn't the refiner's to change."""
    odds = block(slice(4, 12), slice(4, 12))
    first = Point(32, 32)
    asked = corrected(odds, cells(*two_halves()), FRAME, [first], [], _noisy(1))
    assert np.array_equal(asked, after(odds, first))
    refined = corrected(odds, cells(*two_halves()), FRAME, [first], [Point(60, 60)], _noisy(1))
    assert not np.array_equal(refined, after(odds, first, Point(60, 60)))


def test_a_kernel_makes_a_click_clear() -> None:
    one = correction(block())
    one.click(24, 20, positive=True)
    assert one.log_odds[24, 20] == pytest.approx(CLEAR, abs=1e-3)


def test_a_first_click_beside_the_picture_makes_no_correction_a_hint() -> None:
    """It is passed over; the click after it still corrects."""
    odds, correcting, refiner = block(slice(4, 12), slice(4, 12)), Point(60, 60), _noisy(1)
    with_it, without = (
        corrected(odds, cells(*two_halves()), FRAME, asked, [correcting], refiner) for asked in ([Point(-5, 5)], [])
    )
    assert not np.array_equal(without, after(odds, correcting))
    assert np.array_equal(with_it, without)


def test_clicks_that_agree_are_not_the_refiners_business() -> None:
    odds = block(slice(4, 12), slice(4, 12))
    for agreeing in (Point(32, 32), Point(90, 80, positive=False)):
        refined = corrected(odds, cells(*two_halves()), FRAME, (), [agreeing], _noisy(1))
        assert np.array_equal(refined, after(odds, agreeing))


def test_damaged_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "click_refiner.safetensors"
    path.write_bytes(SHIPPED.read_bytes()[:1000])
    monkeypatch.setattr(click_refiner, "SHIPPED", path)
    with pytest.raises(CheckpointError, match=r"click_refiner\.safetensors.*install again"):
        shipped_refiner.__wrapped__()


@pytest.mark.parametrize("name", ["phi3", "qwen3-1.7b", "qwen3-4b"])
def test_only_tiny_is_refined(name: str) -> None:
    """The weights know no other model's answers, and good masks are made worse by a first click now and then."""
    assert not XSamConfig.variant(name).refines_clicks
    assert load_config(SHIPPED_MODELS / "tiny").refines_clicks


def test_without_a_refiner_kernels_are_all() -> None:
    odds, click = block(slice(4, 12), slice(4, 12)), Point(60, 60)
    assert np.array_equal(corrected(odds, cells(*two_halves()), FRAME, (), [click], None), after(odds, click))
