"""Grounded captions against cases worked out by hand."""

import math

import numpy as np
import pytest

from xsam_backend.evaluation.bootstrap import bootstrap
from xsam_backend.evaluation.grounded_conversation import GroundedCaptions
from xsam_backend.scenes.scene import draw_scene

Phrase = tuple[int, int, str]


def strips(entries: list[Phrase]) -> np.ndarray:
    """bool (N, 10, 20): columns x0 to x1, 10 px each."""
    masks = np.zeros((len(entries), 10, 20), np.bool_)
    for mask, (x0, x1, _) in zip(masks, entries, strict=True):
        mask[:, x0:x1] = True
    return masks


def add(measure: GroundedCaptions, answer: list[Phrase], true: list[Phrase], caption: str = "a ball") -> None:
    measure.add(
        caption,
        strips(answer),
        [words for _, _, words in answer],
        ["a red ball and a box"],
        strips(true),
        [words for _, _, words in true],
    )


BALL_AND_BOX: list[Phrase] = [(0, 10, "a red ball"), (10, 20, "a box")]


@pytest.mark.parametrize(
    ("answer", "ap50", "mean_iou", "recall"),
    [
        (BALL_AND_BOX, 1.0, 1.0, 1.0),
        ([(10, 20, "the box"), (0, 8, "a ball")], 1.0, (1 + 0.8) / 2, 1.0),
        ([(0, 10, "a box"), (10, 20, "a red ball")], 1.0, 1.0, 0.0),
        ([(0, 10, "a red ball")], 51 / 101, 1.0, 1 / 2),
        ([(0, 4, "a red ball"), (10, 20, "a box")], 51 / 101 / 2, (0.4 + 1) / 2, 1 / 2),
        ([(0, 10, "a key"), (0, 9, "a red ball"), (10, 20, "a box")], (51 + 50 * 2 / 3) / 101, 1.0, 1.0),
        ([(0, 5, "a red ball")], 51 / 101, 0.5, 1 / 2),
        ([(0, 10, "a blue ball"), (10, 20, "a box")], 1.0, 1.0, 1 / 2),
        ([], 0.0, 0.0, 0.0),
    ],
    ids=[
        "all right, in the truth's order",
        "any order; IoU 1 and 0.8; 'ball' is 2/3 of 'red ball'",
        "right masks with each other's words: no recall, AP and mIoU don't read",
        "one of two: AP reaches recall 0.5, 51 of 101 points; mIoU is over pairs alone",
        "IoU 0.4 first: precision 1/2 up to recall 0.5; it is still a pair for mIoU",
        "a key's mask fits the ball better than the ball's own: for recall it is passed over; AP: hit, miss, hit",
        "IoU 0.5 is enough",
        "words alike by 0.5 are not: blue is not red",
        "nothing said: 0 for mIoU, too",
    ],
)
def test_one_picture(answer: list[Phrase], ap50: float, mean_iou: float, recall: float) -> None:
    measure = GroundedCaptions()
    add(measure, answer, BALL_AND_BOX)
    assert measure.ap50() == pytest.approx(ap50)
    assert measure.mean_iou() == pytest.approx(mean_iou)
    assert measure.recall() == pytest.approx(recall)


def test_pictures_and_phrases_are_averaged_as_in_glamm() -> None:
    measure = GroundedCaptions()
    add(measure, BALL_AND_BOX, BALL_AND_BOX)
    add(measure, [(0, 10, "a ball")], [(0, 20, "a ball")])
    add(measure, [], [(0, 20, "a ball")])
    assert len(measure) == 3
    assert measure.mean_iou() == pytest.approx((1 + 0.5 + 0) / 3), "over pictures"
    assert measure.recall() == pytest.approx((2 + 1 + 0) / 4), "over phrases"
    assert measure.mean_iou(np.array([1, 1])) == pytest.approx(0.5)
    assert measure.recall(np.array([0, 2])) == pytest.approx(2 / 3)
    assert measure.ap50(np.array([2])) == 0
    assert bootstrap(measure.recall, 3, rounds=200).low < 0.75


def test_captions_are_scored_over_all_pictures() -> None:
    measure = GroundedCaptions()
    add(measure, [], [], "a red ball and a box")
    assert math.isnan(measure.cider()), "a single picture has no score"
    measure.add("a key", strips([]), [], ["a green key"], strips([]), [])
    # Six words, all sequences match: 10. "key" of "green key": words 1 / sqrt 2; the pair "a key" is none of
    # "a green", "green key"; one word short.
    second = 10 * math.exp(-1 / 72) / math.sqrt(2) / 4
    assert measure.cider() == pytest.approx((10 + second) / 2)
    assert measure.cider(np.array([1])) == pytest.approx(second)


def test_another_way_to_compare_words() -> None:
    measure = GroundedCaptions(alike=lambda one, other: float({one, other} == {"a sphere", "a ball"}))
    add(measure, [(0, 20, "a sphere")], [(0, 20, "a ball")])
    assert measure.recall() == 1


def test_no_pictures_have_no_measure() -> None:
    measure = GroundedCaptions()
    for value in (measure.ap50(), measure.mean_iou(), measure.recall(), measure.cider()):
        assert math.isnan(value)


def test_what_does_not_fit_is_refused() -> None:
    one = strips([(0, 5, "a ball")])
    with pytest.raises(ValueError, match="as many labels as masks"):
        GroundedCaptions().add("", one, [], ["a ball"], one, ["a ball"])
    with pytest.raises(ValueError, match="as many labels as masks"):
        GroundedCaptions().add("", one, ["a ball"], ["a ball"], one, [])
    with pytest.raises(ValueError, match="at least one true caption"):
        GroundedCaptions().add("", one, ["a ball"], [], one, ["a ball"])


def test_saying_a_drawn_scene_s_own_caption_is_perfect() -> None:
    measure = GroundedCaptions()
    for seed in (1_000_000, 1_000_001):
        scene = draw_scene(seed, (64, 64))
        caption = scene.captions[0]
        phrases = [caption.text[start:end] for start, end, _ in caption.spans]
        masks = np.stack([scene.union(segments) for _, _, segments in caption.spans])
        measure.add(caption.text, masks, phrases, [other.text for other in scene.captions[:1]], masks, phrases)
    assert measure.ap50() == pytest.approx(1.0)
    assert measure.mean_iou() == measure.recall() == 1.0
    assert measure.cider() == pytest.approx(10)
