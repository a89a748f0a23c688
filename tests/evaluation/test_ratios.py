"""Sums over pictures are the measures that the overlaps' own functions give, whole and resampled."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.evaluation.overlaps import Overlap, c_iou, g_iou
from xsam_backend.evaluation.ratios import Ratios, c_iou_of, g_iou_of, mean_of

overlaps = st.tuples(*(st.integers(0, 50) for _ in range(3))).map(
    lambda parts: Overlap(parts[0], parts[0] + parts[1], parts[0] + parts[2])
)


@given(st.lists(st.lists(overlaps, max_size=4), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_sums_give_g_iou_and_c_iou(pictures: list[list[Overlap]], random: object) -> None:
    ratios = Ratios()
    for own in pictures:
        ratios.add({"g": g_iou_of(own), "c": c_iou_of(own)})
    drawn = np.array([random.randrange(len(pictures)) for _ in pictures])  # type: ignore[attr-defined]
    together = [one for index in drawn for one in pictures[index]]
    for name, measure in (("g", g_iou), ("c", c_iou)):
        assert ratios.statistic(name)(drawn) == pytest.approx(measure(together), nan_ok=True)
    assert ratios.possible("g") == sum(map(len, pictures))


def test_a_picture_without_an_entry_adds_nothing() -> None:
    ratios = Ratios()
    ratios.add({"clicks": mean_of([2.0, 4.0])})
    ratios.add({})
    ratios.add({"clicks": mean_of([9.0])})
    assert len(ratios) == 3
    assert ratios.estimate("clicks", seed=0, rounds=50).value == 5.0
    assert ratios.statistic("clicks")(np.array([1, 2, 2])) == 9.0
    assert math.isnan(ratios.statistic("clicks")(np.array([1])))


def test_what_was_never_counted_is_no_number() -> None:
    estimate = Ratios().estimate("anything", seed=0, rounds=5)
    assert math.isnan(estimate.value)
    assert Ratios().possible("anything") == 0
