"""The simulated annotator clicks where the most is wrong; variations stay true to the object."""

from __future__ import annotations

import numpy as np
import pytest
from click_parts import answer

from xsam_backend.training.clicks.simulated import begun, varied


def test_clicks_go_where_the_most_is_wrong() -> None:
    one = begun(answer(slice(8, 14)))
    assert one.clicks == [(24, 19)], "the first hint's"
    before = one.iou
    assert one.click()
    row, column = one.clicks[-1]
    assert 12 <= row < 36
    assert 28 <= column < 40, "in what is missing"
    assert one.iou > before
    surplus = begun(answer(slice(8, 28)))
    surplus.click()
    assert not surplus.truth[surplus.clicks[-1]]


def test_nothing_is_wrong_with_a_right_mask() -> None:
    one = begun(answer(slice(8, 20)))
    while one.click():
        assert len(one.clicks) < 20
    assert one.iou == 1 or all(one.truth[click] == one.correction.mask[click] for click in one.clicks)


def test_random_clicks_stay_on_what_is_wrong() -> None:
    for seed in range(30):
        one = begun(answer(slice(8, 12)))
        mask = one.correction.mask.copy()
        one.click(np.random.default_rng(seed))
        click = one.clicks[-1]
        assert one.truth[click] != mask[click]


@pytest.mark.parametrize("seed", range(12))
def test_variations_keep_object_features_and_clicks_together(seed: int) -> None:
    one = varied(answer(), np.random.default_rng(seed))
    assert one.truth.sum() == 24 * 24
    ((row, column),) = one.clicks
    assert one.truth[row, column], "mirrored with the picture"
    cells = one.correction._cells
    like = np.exp(-cells.unlikeness(row, column) / 2)
    assert like[one.truth].mean() > 2 * like[~one.truth].mean()


def test_corrections_begin_well_and_badly() -> None:
    ious = [varied(answer(slice(8, 14)), np.random.default_rng(seed)).iou for seed in range(60)]
    assert max(ious) > 0.8
    assert min(ious) < 0.4
