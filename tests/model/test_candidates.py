"""The forms in which the decoder's proposals are wanted, from logits made by hand: a frame of 8 x 8, no padding."""

import numpy as np
import pytest
import torch
from small_models import noise_picture, small_predictor
from torch import Tensor

from xsam_backend.errors import PromptError
from xsam_backend.model.candidates import Candidates, Pass
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.prompts import Box, Category, Point, Prompt, Task

FRAME = PictureFrame((8, 8), (8, 8), (8, 8))
SURE = 20.0
LEFT, RIGHT, TOP = (slice(None), slice(0, 4)), (slice(None), slice(4, 8)), (slice(0, 4), slice(None))


def proposals(*queries: tuple[tuple[slice, slice], list[float]]) -> tuple[Tensor, Tensor]:
    """Class logits from scores (the background gets the rest), and mask logits that are on inside the slices."""
    scores = torch.tensor([[*given, 1 - sum(given)] for _, given in queries])
    masks = torch.full((len(queries), 8, 8), -SURE)
    for index, (area, _) in enumerate(queries):
        masks[index][area] = SURE
    return scores.clamp(min=1e-6).log(), masks


ONE_PASS = Candidates(
    [Pass(*proposals((LEFT, [0.9, 0.05]), (LEFT, [0.8, 0.1]), (RIGHT, [0.04, 0.85])), ("dog", "sky"), stuff=(1,))],
    FRAME,
)


def test_instances_are_the_best_pairs_as_many_as_queries() -> None:
    found = ONE_PASS.instances()
    assert found.labels == ("dog", "sky", "dog")
    assert found.scores == pytest.approx([0.9, 0.85, 0.8], abs=1e-4)
    assert (found.masks[0] == found.masks[2]).all()


def test_annotators_get_each_region_once_and_stuff_as_an_area() -> None:
    found = ONE_PASS.answered(0.3)
    assert found.labels == ("dog", "sky")
    assert found.masks[1][RIGHT].all()
    assert found.masks.sum((1, 2)).tolist() == [32, 32]
    assert ONE_PASS.answered(0.88).labels == ("dog",)


def test_segments_share_no_pixel() -> None:
    found = ONE_PASS.segments()
    assert found.labels == ("dog", "sky")
    assert (found.masks.sum(0) <= 1).all()
    crossed = Candidates([Pass(*proposals((LEFT, [0.9, 0.05]), (TOP, [0.04, 0.85])), ("dog", "sky"), (1,))], FRAME)
    assert crossed.segments().labels == ("dog",), "of what sky claims only half is left, 80 % are needed"
    assert crossed.instances().labels == ("dog", "sky")
    assert ONE_PASS.segments(0.88).labels == ("dog",)


def test_semantic_gives_each_pixel_one_class_over_all_passes() -> None:
    two = Candidates(
        [
            Pass(*proposals((LEFT, [0.6, 0.1])), ("dog", "cat")),
            Pass(*proposals((RIGHT, [0.7]), (TOP, [0.2])), ("sky",)),
        ],
        FRAME,
    )
    found = two.semantic()
    assert (found.masks.sum(0) == 1).all()
    assert dict(zip(found.labels, found.masks.sum((1, 2)).tolist(), strict=True)) == {"dog": 32, "sky": 32}
    assert found.masks[found.labels.index("sky")][RIGHT].all()
    assert found.labels[0] == "sky", "the surest first"
    assert found.scores == pytest.approx([0.7, 0.6], abs=1e-4), "that of the surest query, whatever others add"


def test_semantic_leaves_out_pixels_that_are_of_no_class() -> None:
    found = Candidates([Pass(*proposals((LEFT, [0.6]), (TOP, [0.2]), (TOP, [0.2])), ("dog",))], FRAME).semantic(0.3)
    assert found.labels == ("dog",)
    assert found.masks[0].sum() == 32
    assert found.masks[0][LEFT].all()
    assert len(Candidates([Pass(*proposals((LEFT, [0.2])), ("dog",))], FRAME).semantic(0.3)) == 0


def test_each_label_has_its_own_threshold() -> None:
    """What is below its label's hides nothing of another one, and lets nothing in."""
    doubtful = Candidates(
        [Pass(*proposals((LEFT, [0.5, 0.1]), (LEFT, [0.1, 0.4]), (RIGHT, [0.1, 0.2])), ("cat", "dog"))], FRAME
    )
    assert doubtful.answered(0.3).labels == ("cat",), "the dog is the same region"
    assert doubtful.answered({"cat": 0.9, "dog": 0.3}).labels == ("dog",)
    assert doubtful.answered({"cat": 0.3, "dog": 0.9}).labels == ("cat",)
    semantic = doubtful.semantic({"cat": 0.1, "dog": 0.3})
    assert semantic.labels == ("cat",), "the right half is no dog, whatever the cat's threshold"
    assert semantic.masks[0].sum() == 32
    assert ONE_PASS.segments({"dog": 0.95, "sky": 0.5}).labels == ("sky",)


def test_semantic_puts_the_phrases_of_a_label_together() -> None:
    two_names = Pass(*proposals((LEFT, [0.6, 0.1]), (RIGHT, [0.1, 0.7])), ("dog", "dog"))
    found = Candidates([two_names], FRAME).semantic()
    assert found.labels == ("dog",)
    assert found.masks.all()


def test_several_passes_are_one_list_best_first() -> None:
    two = Candidates(
        [Pass(*proposals((LEFT, [0.6])), ("dog",)), Pass(*proposals((RIGHT, [0.7])), ("sky",))],
        FRAME,
    )
    for found in (two.instances(), two.answered(0.0), two.segments()):
        assert found.labels == ("sky", "dog")


def test_the_closest_box_wins_an_interactive_question() -> None:
    region = torch.zeros(8, 8, dtype=torch.bool)
    region[RIGHT] = True
    asked = Candidates([Pass(*proposals((LEFT, [0.9]), (RIGHT, [0.6])), ("dog",), region=region)], FRAME)
    found = asked.closest()
    assert found.labels == ("dog",)
    assert found.masks[0][RIGHT].all()
    assert found.scores == pytest.approx([0.6], abs=1e-4)
    with pytest.raises(ValueError, match="without a region"):
        ONE_PASS.closest()


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(Task.GENERIC, categories=(Category("ball", "Ball"), Category("sky", "Sky", False))),
        Prompt(Task.VGD, (Box(5, 5, 20, 20), Point(40, 30)), (Category("a", "A"), Category("b", "B"))),
        Prompt(Task.INTERACTIVE, (Point(30, 20),), label="Ball"),
    ],
    ids=lambda prompt: str(prompt.task),
)
def test_a_model_has_candidates_for_lists_exemplars_and_objects(prompt: Prompt) -> None:
    predictor = small_predictor()
    state = predictor.encode(noise_picture())
    candidates = predictor.candidates(state, prompt)
    labels = {category.label for category in prompt.categories} or {prompt.label}
    for found in (candidates.instances(), candidates.segments(), candidates.semantic()):
        assert found.size_hw == (48, 64)
        assert set(found.labels) <= labels
    assert len(candidates.instances()) <= predictor.queries == 8
    if prompt.task is Task.INTERACTIVE:
        assert len(candidates.closest()) == 1
    else:
        same = predictor.answer(state, prompt).instances
        assert np.array_equal(candidates.answered(predictor.threshold(prompt.task)).masks, same.masks)


def test_other_questions_have_an_answer_instead() -> None:
    predictor = small_predictor()
    with pytest.raises(PromptError, match="no candidates"):
        predictor.candidates(predictor.encode(noise_picture()), Prompt(Task.REFERRING, phrase="a ball"))
