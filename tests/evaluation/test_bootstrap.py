"""Intervals by bootstrap: small cases worked out by hand, scipy's on a mean, and how often they hold the truth."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from xsam_backend.evaluation.average_precision import AveragePrecision
from xsam_backend.evaluation.bootstrap import Statistic, bootstrap, bootstraps
from xsam_backend.evaluation.ratios import Ratios
from xsam_backend.evaluation.ratios import mean_of as ratio_of
from xsam_backend.instances import Instances


def mean_of(values: NDArray[np.float64]) -> Statistic:
    return lambda pictures: float(values[pictures].mean())


@pytest.mark.parametrize(
    ("confidence", "low", "high"),
    [(0.95, 0.0, 1.0), (0.4, 0.5, 0.5)],
    ids=["the outer quarters reach beyond 2.5 %", "but not to the 30 % on each side that are outside of 40 %"],
)
def test_two_pictures(confidence: float, low: float, high: float) -> None:
    """Values 0 and 1: the mean of two draws is 0, 0.5, 0.5 or 1, a quarter each."""
    estimate = bootstrap(mean_of(np.array([0.0, 1.0])), 2, confidence=confidence)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, low, high)


def test_pictures_that_are_all_alike_leave_no_doubt() -> None:
    estimate = bootstrap(mean_of(np.full(5, 0.3)), 5)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.3, 0.3, 0.3))


@pytest.mark.parametrize("pictures", [0, 1])
def test_of_one_picture_there_is_no_interval(pictures: int) -> None:
    estimate = bootstrap(mean_of(np.array([0.7])), pictures)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert estimate.value == 0.7 if pictures else math.isnan(estimate.value)


def test_draws_without_a_value_are_left_out() -> None:
    """Only picture 0 has something to measure: without it the share is undefined, with it always 1."""

    def share(pictures: NDArray[np.intp]) -> float:
        return 1.0 if (pictures == 0).any() else float("nan")

    estimate = bootstrap(share, 3)
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)
    assert math.isnan(bootstrap(lambda pictures: float("nan"), 3).low)


def test_whole_pictures_are_drawn() -> None:
    """Ten equal items in each of two pictures are no twenty independent ones: 0 and 1 stay within reach."""
    ratios = Ratios()
    for value in (0.0, 1.0):
        ratios.add({"items": ratio_of([value] * 10)})
    estimate = ratios.estimate("items", seed=0, rounds=1000)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.0, 1.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(30)
    first, again, other = (bootstrap(mean_of(values), 30, seed=seed, rounds=200) for seed in (1, 1, 2))
    assert first == again
    assert first.low != other.low
    assert first.value == other.value


def test_agrees_with_scipy_on_a_mean() -> None:
    values = np.random.default_rng(5).gamma(2.0, size=60)
    ours = bootstrap(mean_of(values), 60, rounds=4000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    spread = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.05 * spread
    assert abs(ours.high - theirs.high) < 0.05 * spread


def test_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for trial in range(200):
        estimate = bootstrap(mean_of(rng.normal(size=40)), 40, seed=trial, rounds=300)
        held += estimate.low <= 0 <= estimate.high
    assert 0.88 <= held / 200 <= 0.99


def test_takes_average_precision_as_it_is() -> None:
    """Three pictures, one object each, the last one missed: AP is 1 without it and 0 with nothing else."""
    mask = np.ones((1, 4, 4), np.bool_)
    measure = AveragePrecision()
    for hit in (True, True, False):
        answer = Instances.of(mask, np.array([0.9], np.float32), ("x",)) if hit else Instances.empty((4, 4))
        measure.add(answer, mask, ["x"])
    estimate = bootstrap(lambda pictures: measure.at(0.5, pictures), len(measure), rounds=200)
    assert estimate.value == pytest.approx(67 / 101), "two of three: recalls up to 0.66"
    assert (estimate.low, estimate.high) == (0.0, pytest.approx(1.0))


def test_several_statistics_are_what_each_is_alone() -> None:
    first, second = np.array([0.1, 0.9, 0.4, 0.7]), np.array([3.0, 1.0, float("nan"), 2.0])
    alone = [bootstrap(mean_of(values), 4, seed=3, rounds=200) for values in (first, second)]
    together = bootstraps(
        lambda pictures: [values[pictures].mean() for values in (first, second)], 4, 2, seed=3, rounds=200
    )
    assert [(one.low, one.high) for one in together] == [(one.low, one.high) for one in alone]
    assert together[0].value == alone[0].value
    assert math.isnan(together[1].value)


@pytest.mark.parametrize("pictures", [0, 1])
def test_several_statistics_of_nothing_have_no_interval(pictures: int) -> None:
    estimates = bootstraps(lambda drawn: (0.5, 0.6), pictures, 2)
    assert len(estimates) == 2
    assert all(math.isnan(one.low) and math.isnan(one.high) for one in estimates)
