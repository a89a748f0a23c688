from __future__ import annotations

import io

import numpy as np
import pytest
from measured_pictures import CAT, DOG, SIZE_HW
from PIL import Image

from xsam_backend.evaluation.case_pictures import LONGEST_PX, drawn_case, in_words
from xsam_backend.instances import Instances
from xsam_backend.prompts import Box, MaskRegion, Point, Region

GREY = np.full((*SIZE_HW, 3), 128, np.uint8)


def instances(*labelled: tuple[np.ndarray, str]) -> Instances:
    masks = np.stack([mask for mask, _ in labelled]) if labelled else np.zeros((0, *SIZE_HW), np.bool_)
    return Instances.of(masks, np.full(len(masks), 0.9, np.float32), tuple(label for _, label in labelled))


def pixels(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)


def draw(true: Instances, found: Instances, image: np.ndarray = GREY, regions: tuple[Region, ...] = ()):
    return drawn_case(image, true, found, title="a", measure="IoU", score=0.5, regions=regions)


def test_truth_and_answer_are_drawn_in_the_same_colours() -> None:
    case = draw(instances((DOG, "dog"), (CAT, "cat")), instances((CAT, "cat")))
    truth, answer = pixels(case.truth_jpeg), pixels(case.answer_jpeg)
    assert truth.shape == answer.shape == (267, LONGEST_PX, 3), "small pictures are shown larger"
    assert np.abs(truth[170, 300] - answer[170, 300]).max() < 30, "the cat"
    assert np.abs(truth[170, 70] - 128).max() > 30, "a dog is there"
    assert np.abs(answer[170, 70] - 128).max() < 30, "none was answered"
    assert (case.truth_words, case.answer_words) == ("dog, cat", "cat")


def test_large_pictures_are_made_small() -> None:
    size_hw = (LONGEST_PX * 3, LONGEST_PX * 2)
    mask = np.zeros(size_hw, np.bool_)
    mask[:600] = True
    found = Instances.of(mask[None], np.ones(1, np.float32), ("x",))
    case = draw(found, Instances.empty(size_hw), np.full((*size_hw, 3), 128, np.uint8))
    assert pixels(case.truth_jpeg).shape[:2] == (LONGEST_PX, round(LONGEST_PX * 2 / 3))
    assert np.abs(pixels(case.truth_jpeg)[150, 100] - 128).max() > 30
    assert case.answer_words == "nothing"


@pytest.mark.parametrize(
    "region",
    [Point(30.0, 20.0), Box(25.0, 15.0, 10.0, 10.0), MaskRegion(DOG), MaskRegion(np.zeros(SIZE_HW, np.bool_))],
    ids=["click", "box", "area", "empty area"],
)
def test_prompts_are_drawn_on_both(region: Region) -> None:
    case = draw(instances(), instances(), regions=(region,))
    is_drawn = not (isinstance(region, MaskRegion) and not region.mask.any())
    for jpeg in (case.truth_jpeg, case.answer_jpeg):
        assert bool(np.abs(pixels(jpeg) - 128).max() > 80) is is_drawn


def test_an_outline_is_seen_on_an_object_of_the_masks_own_colour() -> None:
    plain = drawn_case(GREY, instances((DOG, "dog")), instances(), title="a", measure="IoU", score=0.5)
    colour = pixels(plain.truth_jpeg)[130, 100].astype(np.uint8)
    for is_outlined in (False, True):
        case = drawn_case(
            np.broadcast_to(colour, GREY.shape).copy(),
            instances((DOG, "dog")),
            instances(),
            title="a",
            measure="IoU",
            score=0.5,
            is_outlined=is_outlined,
        )
        edge = pixels(case.truth_jpeg)[120:160, 20:50]
        assert bool((edge.min(2) > 170).any()) is is_outlined, "white"
        assert bool((edge.max(2) < 90).any()) is is_outlined, "with a dark rim"
        assert (pixels(case.answer_jpeg).min(2) < 170).all(), "nothing was answered"


def test_words_count_labels() -> None:
    assert in_words(instances((DOG, "dog"), (CAT, "cat"), (CAT, "cat"))) == "cat × 2, dog"
    assert in_words(Instances.of(DOG[None], np.ones(1, np.float32), (None,))) == "object"
    assert in_words(instances()) == "nothing"


def test_of_a_small_object_the_surroundings_are_shown() -> None:
    size_hw = (400, 600)
    small, image = np.zeros(size_hw, np.bool_), np.zeros((*size_hw, 3), np.uint8)
    small[100:110, 200:210] = True
    image[small] = 200
    one = Instances.of(small[None], np.ones(1, np.float32), ("x",))
    click = Point(205.0, 105.0)
    far, near = (
        drawn_case(image, one, one.select([]), title="", measure="", score=0.0, regions=(click,), is_close=is_close)
        for is_close in (False, True)
    )
    shares = [(pixels(case.answer_jpeg) > 100).any(2).mean() for case in (far, near)]
    assert shares[1] > 10 * shares[0], "the object is seen"
    middle = pixels(near.answer_jpeg)
    assert (middle[middle.shape[0] // 2, middle.shape[1] // 2] > 150).all(), "the click is still on it"
    large = np.ones(size_hw, np.bool_)
    whole = Instances.of(large[None], np.ones(1, np.float32), ("x",))
    same = [
        drawn_case(image, whole, whole, title="", measure="", score=0.0, is_close=is_close).truth_jpeg
        for is_close in (False, True)
    ]
    assert same[0] == same[1]
