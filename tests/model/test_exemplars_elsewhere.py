"""What an object looks like is taken to other pictures, and means there what it means at home."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_models import noise_picture, small_predictor

from xsam_backend.errors import PromptError
from xsam_backend.instances import Answer
from xsam_backend.model.predictor import Predictor
from xsam_backend.prompts import Box, Category, Point, Prompt, Region, Task

HERE, ELSEWHERE = noise_picture(0), noise_picture(1, (64, 40))
BALL, CRATE = Box(5, 5, 20, 20), Box(30, 20, 25, 18)
SMALL_BALL, SMALL_CRATE = Box(5, 5, 5, 6), Box(30, 20, 6, 6)


def assert_same(ours: Answer, theirs: Answer) -> None:
    assert np.array_equal(ours.instances.masks, theirs.instances.masks)
    assert ours.instances.labels == theirs.instances.labels
    assert ours.instances.scores == pytest.approx(theirs.instances.scores, abs=1e-5)


def in_place(*regions: Region, labels: tuple[str, ...]) -> Prompt:
    return Prompt(Task.VGD, regions, tuple(Category(label, label) for label in labels), score_threshold=0.0)


@pytest.mark.parametrize(
    ("sizes", "ball", "crate"),
    [
        pytest.param({}, BALL, CRATE, id="nothing is known of their size"),
        pytest.param({"ball": 0.095, "crate": 0.095}, SMALL_BALL, SMALL_CRATE, id="closer looks at small ones"),
    ],
)
def test_at_home_an_exemplar_means_what_its_region_does(sizes: dict[str, float], ball: Box, crate: Box) -> None:
    plain = small_predictor(closest_tiles=2)
    predictor = Predictor(plain.model, plain.tokenizer, "v", typical_sizes=sizes)
    state = predictor.encode(HERE, keeps_looks=True)
    exemplars = (predictor.exemplar(state, ball, "ball"), predictor.exemplar(state, crate, "crate"))
    assert {one.in_picture.dtype for one in exemplars} == {np.dtype(np.float32)}
    assert np.array_equal(exemplars[0].in_picture, exemplars[0].enlarged) is not bool(sizes)
    asked = Prompt(Task.VGD, exemplars=exemplars, score_threshold=0.0)
    assert_same(
        predictor.answer(state, asked), predictor.answer(state, in_place(ball, crate, labels=("ball", "crate")))
    )


def test_several_of_one_label_are_one_condition_and_order_means_nothing() -> None:
    predictor = small_predictor()
    home, other = predictor.encode(HERE), predictor.encode(ELSEWHERE)
    first, second = (predictor.exemplar(home, region, "ball") for region in (BALL, CRATE))
    mean = replace(
        first,
        in_picture=(first.in_picture + second.in_picture) / 2,
        enlarged=(first.enlarged + second.enlarged) / 2,
    )
    together = predictor.answer(other, Prompt(Task.VGD, exemplars=(first, second), score_threshold=0.0))
    assert set(together.instances.labels) == {"ball"}
    assert together.instances.size_hw == (64, 40)
    for same in ((second, first), (mean,), (first, second, mean)):
        assert_same(predictor.answer(other, Prompt(Task.VGD, exemplars=same, score_threshold=0.0)), together)
    alone = predictor.answer(other, Prompt(Task.VGD, exemplars=(first,), score_threshold=0.0))
    assert not np.array_equal(alone.instances.scores, together.instances.scores), "each counts"


def test_thresholds_hold_for_exemplars() -> None:
    predictor = small_predictor()
    state = predictor.encode(HERE)
    exemplar = predictor.exemplar(state, Point(30, 20), "ball")
    best = predictor.answer(state, Prompt(Task.VGD, exemplars=(exemplar,), score_threshold=0.0)).instances.scores[0]
    above = predictor.answer(state, Prompt(Task.VGD, exemplars=(exemplar,), score_threshold=min(best + 0.01, 1.0)))
    assert not len(above.instances)
    assert "nothing scored" in above.reason
    of_its_own = Prompt(
        Task.VGD, exemplars=(exemplar,), categories=(Category("ball", "ball", score_threshold=min(best + 0.01, 1.0)),)
    )
    assert not len(predictor.answer(state, of_its_own).instances)


def test_exemplars_that_can_not_be() -> None:
    predictor = small_predictor()
    state = predictor.encode(HERE)
    with pytest.raises(PromptError, match="a region inside the picture"):
        predictor.exemplar(state, Box(70, 10, 5, 5), "ball")
    exemplar = predictor.exemplar(state, BALL, "ball")
    with pytest.raises(PromptError, match="got both: ask twice"):
        Prompt(Task.VGD, (BALL,), exemplars=(exemplar,))
