"""Simulated annotators: where they click, box and scribble, and that they do the same again."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsam_backend.evaluation.simulated_prompts import (
    SIMULATORS,
    centre_click,
    corrective_click,
    exact_box,
    jittered_box,
    random_click,
    rough_mask,
    scribble,
)
from xsam_backend.geometry.masks import mask_iou
from xsam_backend.prompts import Box, MaskRegion, Point
from xsam_backend.region_masks import region_mask


def block(y0: int, y1: int, x0: int, x1: int, size_hw: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size_hw, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Non-empty masks: blocks united with and cut by others, also one pixel, also at the rim."""
    mask = np.zeros((draw(st.integers(3, 50)), draw(st.integers(3, 70))), np.bool_)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    for value in (True, True, False):
        y, x = (int(rng.integers(side)) for side in mask.shape)
        mask[y : y + int(rng.integers(1, 30)), x : x + int(rng.integers(1, 30))] = value
    if not mask.any():
        mask[draw(st.integers(0, mask.shape[0] - 1)), draw(st.integers(0, mask.shape[1] - 1))] = True
    return mask


@settings(deadline=None)
@given(masks(), st.integers(0, 1000), st.sampled_from(tuple(SIMULATORS)))
def test_every_prompt_is_about_its_mask_and_repeatable(mask: np.ndarray, seed: int, kind: str) -> None:
    first = SIMULATORS[kind](mask, np.random.default_rng(seed))
    again = SIMULATORS[kind](mask, np.random.default_rng(seed))
    size_hw = (mask.shape[0], mask.shape[1])
    drawn = region_mask(first, size_hw)
    assert np.array_equal(drawn, region_mask(again, size_hw))
    if isinstance(first, Point):
        assert mask[int(first.y_px), int(first.x_px)], "clicks are on the object"
        assert first.positive
    elif kind == "scribble":
        assert not (drawn & ~mask).any()
    elif kind == "exact box":
        assert not (mask & ~drawn).any()


def test_centre_click_of_a_block() -> None:
    assert centre_click(block(10, 21, 20, 31)) == Point(25.5, 15.5)


def test_random_clicks_spread_but_keep_off_the_rim() -> None:
    mask = block(10, 41, 20, 51)
    clicks = [random_click(mask, np.random.default_rng(seed)) for seed in range(50)]
    assert len({(click.x_px, click.y_px) for click in clicks}) > 40
    assert all(25 <= click.x_px <= 46 and 15 <= click.y_px <= 36 for click in clicks)


@pytest.mark.parametrize("towards", [0.0, np.inf], ids=["less", "more"])
def test_random_clicks_do_not_depend_on_the_last_bits_of_a_distance(
    monkeypatch: pytest.MonkeyPatch, towards: float
) -> None:
    """OpenCV's differ from call to call. Eight pixels lie at exactly a third of the depth, sqrt(5) of sqrt(45)."""
    mask = np.ones((15, 20), np.bool_)
    mask[9, 12] = False
    rows, columns = np.indices(mask.shape)
    outside = [(9, 12), *((y, x) for y in range(-1, 16) for x in range(-1, 21) if y in (-1, 15) or x in (-1, 20))]
    squared = np.min([(rows - y) ** 2 + (columns - x) ** 2 for y, x in outside], axis=0)
    assert (9 * squared == squared.max()).sum() == 8
    real = cv2.distanceTransform

    def nearly(*arguments: object) -> np.ndarray:
        depth = np.asarray(real(*arguments))  # type: ignore[call-overload]
        return np.where(depth < depth.max(), np.nextafter(depth, np.float32(towards)), depth)

    monkeypatch.setattr(cv2, "distanceTransform", nearly)
    clicks = [random_click(mask, np.random.default_rng(seed)) for seed in range(2000)]
    assert {(click.x_px, click.y_px) for click in clicks} == {
        (x + 0.5, y + 0.5) for y, x in np.argwhere(9 * squared >= squared.max())
    }


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        (block(0, 21, 0, 21), block(0, 21, 0, 10), Point(15.5, 10.5)),
        (block(0, 21, 0, 10), block(0, 21, 0, 21), Point(15.5, 10.5, positive=False)),
        (block(0, 9, 0, 9) | block(20, 41, 40, 61), block(0, 0, 0, 0), Point(50.5, 30.5)),
        (block(5, 10, 5, 10), block(5, 10, 5, 10), None),
    ],
    ids=["part missing", "too much", "largest of two missing parts", "all right"],
)
def test_corrective_click(truth: np.ndarray, predicted: np.ndarray, expected: Point | None) -> None:
    click = corrective_click(truth, predicted)
    if expected is None:
        assert click is None
    else:
        assert click is not None
        assert click.positive is expected.positive
        assert abs(click.x_px - expected.x_px) <= 1
        assert abs(click.y_px - expected.y_px) <= 1


@given(masks(), masks())
def test_a_corrective_click_hits_an_error(first: np.ndarray, second: np.ndarray) -> None:
    height, width = (min(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    truth, predicted = first[:height, :width], second[:height, :width]
    click = corrective_click(truth, predicted)
    if click is None:
        assert np.array_equal(truth, predicted)
    else:
        pixel = int(click.y_px), int(click.x_px)
        assert truth[pixel] != predicted[pixel]
        assert truth[pixel] == click.positive


def test_boxes() -> None:
    mask = block(10, 30, 20, 60)
    assert exact_box(mask) == Box(20, 10, 40, 20)
    boxes = [jittered_box(mask, np.random.default_rng(seed), share=0.1) for seed in range(50)]
    assert len(set(boxes)) == 50
    for box in boxes:
        assert abs(box.x_px - 20) <= 4
        assert abs(box.y_px - 10) <= 2
        assert abs(box.x_px + box.width_px - 60) <= 4
        assert abs(box.y_px + box.height_px - 30) <= 2


@given(masks(), st.integers(0, 1000))
def test_jittered_boxes_stay_in_the_picture(mask: np.ndarray, seed: int) -> None:
    box = jittered_box(mask, np.random.default_rng(seed), share=0.6)
    assert box.x_px >= 0
    assert box.y_px >= 0
    assert box.x_px + box.width_px <= mask.shape[1]
    assert box.y_px + box.height_px <= mask.shape[0]
    assert min(box.width_px, box.height_px) >= 1


def test_scribbles_are_long_and_thin() -> None:
    mask = block(5, 195, 5, 245, (200, 250))
    strokes = [scribble(mask, np.random.default_rng(seed)).mask for seed in range(20)]
    shares = [stroke.sum() / mask.sum() for stroke in strokes]
    assert 0.001 < np.median(shares) < 0.1
    reach = [max(np.ptp(np.nonzero(stroke)[0]), np.ptp(np.nonzero(stroke)[1])) for stroke in strokes]
    assert np.median(reach) > 25


def test_rough_masks_are_near_but_not_equal() -> None:
    ys, xs = np.mgrid[:200, :200]
    mask = (ys - 100) ** 2 + (xs - 100) ** 2 < 60**2
    ious = [mask_iou(rough_mask(mask, np.random.default_rng(seed)).mask, mask) for seed in range(20)]
    assert min(ious) > 0.75
    assert max(ious) < 0.995


def test_rough_masks_fill_holes() -> None:
    mask = block(20, 80, 20, 80, (100, 100)) & ~block(40, 60, 40, 60, (100, 100))
    assert rough_mask(mask, np.random.default_rng(0)).mask[50, 50]


@pytest.mark.parametrize("kind", SIMULATORS)
def test_nothing_to_prompt_for(kind: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        SIMULATORS[kind](np.zeros((5, 5), np.bool_), np.random.default_rng(0))


def test_kinds_give_regions() -> None:
    made = {kind: SIMULATORS[kind](block(5, 30, 5, 30), np.random.default_rng(0)) for kind in SIMULATORS}
    assert {type(region) for region in made.values()} == {Point, Box, MaskRegion}
