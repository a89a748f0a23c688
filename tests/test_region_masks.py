"""Regions as masks: what they cover, and which ones are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.errors import PromptError
from xsam_backend.prompts import Box, MaskRegion, Point, Region
from xsam_backend.region_masks import CLICK_RADIUS_SHARE, region_mask, regions_mask

SIZE_HW = (40, 100)


def test_a_click_is_a_disc_of_a_share_of_the_longer_side() -> None:
    mask = region_mask(Point(50.5, 20.5), SIZE_HW, click_radius_share=0.05)
    ys, xs = np.nonzero(mask)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (15, 25, 45, 55)
    assert mask.sum() == pytest.approx(np.pi * 5**2, rel=0.1)
    assert region_mask(Point(50.5, 20.5), SIZE_HW).sum() == 5, f"radius {CLICK_RADIUS_SHARE * 100} px: a plus"


@given(st.floats(0, 100), st.floats(0, 40), st.just(0.0) | st.floats(1e-6, 0.1))
def test_a_click_in_the_picture_always_marks_something(x_px: float, y_px: float, share: float) -> None:
    assert region_mask(Point(x_px, y_px), SIZE_HW, share).any()


def test_boxes_and_masks() -> None:
    box = region_mask(Box(10, 5, 20, 10), SIZE_HW)
    assert box[5:15, 10:30].all()
    assert box.sum() == 200
    turned = region_mask(Box(50, 10, 20, 10, 90), SIZE_HW)
    assert turned[10:30, 40:50].all()
    assert turned.sum() == 200
    assert np.array_equal(region_mask(MaskRegion(box), SIZE_HW), box)


def test_regions_together_leave_out_negative_clicks() -> None:
    regions: list[Region] = [Box(0, 0, 10, 10), Box(20, 0, 10, 10), Point(50, 20, positive=False)]
    assert regions_mask(regions, SIZE_HW).sum() == 200


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (Point(300, 20), "click at \\(300, 20\\)"),
        (Box(200, 0, 10, 10), "box at \\(200, 0\\)"),
        (MaskRegion(np.zeros(SIZE_HW, np.bool_)), "an empty mask"),
        (MaskRegion(np.ones((10, 10), np.bool_)), "expected a mask of 40 x 100"),
        (Point(float("nan"), 5), "finite"),
    ],
    ids=["click outside", "box outside", "empty mask", "mask of another size", "not a number"],
)
def test_refused(region: Region, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        region_mask(region, SIZE_HW)


@pytest.mark.parametrize("regions", [[], [Point(5, 5, positive=False)]], ids=["nothing", "negative clicks alone"])
def test_something_must_say_this(regions: list[Region]) -> None:
    with pytest.raises(PromptError, match="click on the object first"):
        regions_mask(regions, SIZE_HW)
