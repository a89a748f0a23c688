"""The gate's rule, case by case: promoted only on evidence."""

from __future__ import annotations

import numpy as np
import pytest

from xsam_backend.learning.exam import QUESTIONS, Marks
from xsam_backend.learning.gate import (
    LARGEST_LOSS,
    LEAST_GAIN,
    MIN_PICTURES,
    PROJECT_MARGIN,
    REHEARSAL_MARGIN,
    Verdict,
    judge,
    paired_changes,
)


def marks(pictures: int = 20, **means: float) -> Marks:
    """About 0.5 for each question, spread over the pictures; ``means`` shift single questions."""
    rng = np.random.default_rng(1)
    base = rng.uniform(0.3, 0.7, pictures)
    return Marks({question: base + means.get(question, 0.0) for question in QUESTIONS})


def shifted(by: float, noise: float = 0.02, pictures: int = 20) -> Marks:
    rng = np.random.default_rng(2)
    before = marks(pictures).by_question
    return Marks({question: before[question] + by + rng.normal(0, noise, pictures) for question in QUESTIONS})


def verdict(candidate: Marks, rehearsed: Marks | None = None, pictures: int = 20) -> Verdict:
    return judge((marks(pictures), candidate), (marks(40), rehearsed or marks(40)))


def test_a_clear_gain_that_costs_nothing_is_promoted() -> None:
    found = verdict(shifted(0.1))
    assert found.promoted, found.reasons
    assert "better on held-out pictures" in found.reasons[0]
    assert {change.question for change in found.changes if change.where == "project"} == {"all", *QUESTIONS}


@pytest.mark.parametrize(
    ("candidate", "rehearsed", "words"),
    [
        pytest.param(marks(), None, "no gain", id="the same model"),
        pytest.param(shifted(0.01, noise=0.3), None, "no gain", id="a gain that may be chance"),
        pytest.param(shifted(-0.1), None, "no gain", id="worse"),
        pytest.param(marks(click=-0.1, labels=0.5), None, "click loses", id="one question pays for another"),
        pytest.param(shifted(0.1), marks(40, box=-0.02), "box", id="what it could do before suffers"),
        pytest.param(marks(**dict.fromkeys(QUESTIONS, LEAST_GAIN / 2)), None, "isn't worth", id="a hair better"),
        pytest.param(shifted(np.nan), None, "0 held-out pictures are too few", id="nothing but nan"),
        pytest.param(marks(), marks(40), "no gain", id="constant marks"),
    ],
)
def test_no_promotion_is_the_default(candidate: Marks, rehearsed: Marks | None, words: str) -> None:
    found = verdict(candidate, rehearsed)
    assert not found.promoted
    assert any(words in reason for reason in found.reasons), found.reasons


@pytest.mark.parametrize(("pictures", "promoted"), [(MIN_PICTURES - 1, False), (MIN_PICTURES, True)])
def test_a_handful_of_pictures_proves_nothing(pictures: int, promoted: bool) -> None:
    assert verdict(shifted(0.2, pictures=pictures), pictures=pictures).promoted is promoted


def test_small_losses_within_the_margins_are_let_pass() -> None:
    candidate = Marks({**shifted(0.1).by_question, "box": marks().by_question["box"] - PROJECT_MARGIN / 2})
    assert verdict(candidate, marks(40, click=-REHEARSAL_MARGIN / 2)).promoted


@pytest.mark.parametrize(
    ("loss", "promoted"),
    [
        pytest.param(REHEARSAL_MARGIN / 2, True, id="small"),
        pytest.param(2 * REHEARSAL_MARGIN, True, id="perhaps larger than the margin, perhaps none"),
        pytest.param(LARGEST_LOSS + 0.005, False, id="too large, whatever chance may say"),
    ],
)
def test_a_loss_that_chance_may_have_made_is_let_pass_up_to_a_bound(loss: float, promoted: bool) -> None:
    noise = np.random.default_rng(5).normal(0, 0.1, 40)
    noise -= noise.mean()
    rehearsed = marks(40)
    after = Marks({**rehearsed.by_question, "click": rehearsed.by_question["click"] - loss + noise})
    assert judge((marks(), shifted(0.1)), (rehearsed, after)).promoted is promoted


def test_questions_that_no_picture_asks_are_left_out() -> None:
    nothing = np.full(20, np.nan)
    before = Marks({**marks().by_question, "alike": nothing})
    after = Marks({**shifted(0.1).by_question, "alike": nothing})
    found = judge((before, after), (marks(40), marks(40)))
    assert found.promoted
    assert "alike" not in {change.question for change in found.changes if change.where == "project"}


def test_without_a_rehearsal_nothing_is_promoted() -> None:
    found = judge((marks(), shifted(0.1)), (marks(0), marks(0)))
    assert not found.promoted
    assert "nothing was rehearsed" in found.reasons[0]


def test_small_losses_do_not_add_up() -> None:
    """Each version loses less than the margin against the one before, and all together more than a few of them."""
    before, after = marks(40, click=-0.022), marks(40, click=-0.022 - REHEARSAL_MARGIN / 2)
    allowed = judge((marks(), shifted(0.1)), (before, after), marks(40))
    assert allowed.promoted, allowed.reasons
    after = marks(40, click=-LARGEST_LOSS + 0.005)
    later = marks(40, click=-LARGEST_LOSS - 0.001)
    found = judge((marks(), shifted(0.1)), (after, later), marks(40))
    assert not found.promoted
    assert "click of the base model" in found.reasons[0]
    assert {change.where for change in found.changes} == {"project", "rehearsal", "base"}


def test_few_pictures_have_wider_intervals() -> None:
    """Of as many pictures as are needed at least, noise alone is promoted hardly more often than of many."""
    promoted = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        before = Marks({"click": np.full(MIN_PICTURES, 0.5)})
        noisy = Marks({"click": 0.5 + rng.normal(0, 0.1, MIN_PICTURES)})
        promoted += paired_changes("project", before, noisy)[0].change.low > 0
    assert promoted / 400 < 0.045, "by the bootstrap alone about 0.056"


def test_chance_alone_is_promoted_hardly_ever() -> None:
    """Candidates that differ by noise only: the interval's lower end is above 0 in one of 40 by construction."""
    promoted = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        before = marks(24).by_question
        noisy = Marks({question: before[question] + rng.normal(0, 0.1, 24) for question in QUESTIONS})
        promoted += judge((marks(24), noisy), (marks(40), marks(40))).promoted
    assert promoted <= 5
