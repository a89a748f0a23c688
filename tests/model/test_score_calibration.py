"""Scores that mean something: fitted on what was right, hardly moved by little evidence, never out of order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.model.score_calibration import Calibration, fit_calibration


def detections(count: int, power: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and whether each was right: with the probability score ** power."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.05, 0.95, count)
    return scores, rng.random(count) < scores**power


@pytest.mark.parametrize("power", [0.4, 1.0, 3.0])
def test_what_was_right_so_often_is_said_so_often(power: float) -> None:
    """Too timid, right, too sure: afterwards the mean score of each fifth is near the share that was right."""
    calibration = fit_calibration(*detections(4000, power))
    scores, right = detections(4000, power, seed=1)
    meant = calibration(scores.astype(np.float32))
    order = np.argsort(meant)
    for part in np.array_split(order, 5):
        assert meant[part].mean() == pytest.approx(right[part].mean(), abs=0.06)


def test_a_handful_of_detections_changes_little() -> None:
    few = fit_calibration(np.array([0.9, 0.9]), np.array([False, False]))
    assert 0.5 < float(few(np.array([0.9], np.float32))[0]) < 0.9
    many = fit_calibration(np.full(200, 0.9), np.zeros(200, bool))
    assert float(many(np.array([0.9], np.float32))[0]) < 0.1


def test_scores_that_mislead_lose_their_say_but_not_their_order() -> None:
    scores = np.linspace(0.05, 0.95, 500)
    calibration = fit_calibration(scores, scores < 0.5)
    assert calibration.slope == pytest.approx(0.0, abs=1e-6)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40),
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20),
)
def test_the_order_stays_and_all_is_a_probability(seen: list[tuple[float, bool]], asked: list[float]) -> None:
    calibration = fit_calibration(np.array([s for s, _ in seen]), np.array([r for _, r in seen], bool))
    meant = calibration(np.array(sorted(asked), np.float32))
    assert (np.diff(meant) >= 0).all()
    assert ((meant >= 0) & (meant <= 1)).all()
    assert meant.dtype == np.float32


def test_without_evidence_scores_stay() -> None:
    scores = np.array([0.1, 0.5, 0.9], np.float32)
    np.testing.assert_allclose(Calibration()(scores), scores, atol=1e-6)


def test_little_evidence_leaves_what_was_known_before() -> None:
    known = Calibration(2.0, -1.0)
    assert fit_calibration(np.array([]), np.array([], bool), near=known) == known
    few = fit_calibration(np.array([0.6]), np.array([True]), near=known)
    assert (few.slope, few.offset) == pytest.approx((2.0, -1.0), abs=0.25)


@given(
    st.floats(0, 3),
    st.floats(-3, 3),
    st.floats(0, 1),
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
)
def test_a_threshold_on_what_scores_mean_is_one_on_the_scores(
    slope: float, offset: float, threshold: float, scores: list[float]
) -> None:
    calibration = Calibration(slope, offset)
    given = np.array(scores, np.float32)
    meant = calibration(given)
    kept = given >= calibration.least_score(threshold)
    assert (meant[kept] >= threshold - 1e-4).all()
    assert (meant[~kept] <= threshold + 1e-4).all()


def test_no_threshold_stays_none() -> None:
    """Whoever asks for everything gets everything."""
    assert Calibration(0.3, -2.0).least_score(0.0) == 0.0
    assert Calibration(0.0, 0.0).least_score(0.6) > 1
