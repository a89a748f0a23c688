"""Windows for a closer look, and how what they show comes together."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import noise_picture, small_predictor

from xsam_backend.instances import Instances
from xsam_backend.model import searching
from xsam_backend.model.between_looks import between_looks
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.tiles import MANY, MOST_GUESSED, OVERLAP, in_picture, joined, many_small, tile_windows
from xsam_backend.prompts import Box, Category, Point, Prompt, Task

SIZE = (200, 300)


def squares(*boxes: tuple[int, int, int, int], size_hw: tuple[int, int] = SIZE, score: float = 0.9) -> Instances:
    """(x, y, width, height) each, label "cell", scores falling a little."""
    masks = np.zeros((len(boxes), *size_hw), np.bool_)
    for mask, (x, y, width, height) in zip(masks, boxes, strict=True):
        mask[y : y + height, x : x + width] = True
    scores = np.array([score - 0.001 * number for number in range(len(boxes))], np.float32)
    return Instances.of(masks, scores, ("cell",) * len(boxes))


def many(side: int, count: int = MANY) -> Instances:
    return squares(*((number * 31 % 250, number * 17 % 150, side, side) for number in range(count)))


@pytest.mark.parametrize(
    ("found", "share"),
    [
        pytest.param(many(20), 20 / 300, id="small ones"),
        pytest.param(many(40), None, id="large ones"),
        pytest.param(many(20, MANY - 1), None, id="a few"),
        pytest.param(Instances.empty(SIZE), None, id="nothing"),
        pytest.param(Instances.concatenate([many(20), many(90)], SIZE), 20 / 300, id="large ones among them"),
    ],
)
def test_how_small_the_many_small_ones_are(found: Instances, share: float | None) -> None:
    assert many_small(found) == pytest.approx(share)


@pytest.mark.parametrize(
    ("share", "most", "windows"),
    [
        pytest.param(0.06, 8, 25, id="small ones"),
        pytest.param(0.09, 8, 9, id="not so small ones"),
        pytest.param(0.01, 6, 36, id="tiny ones: no more than allowed"),
        pytest.param(0.15, 6, 4, id="larger ones"),
        pytest.param(0.25, 6, 0, id="large ones: as large as in a window"),
        pytest.param(0.06, 0, 0, id="never"),
    ],
)
def test_when_to_look_closer(share: float, most: int, windows: int) -> None:
    assert len(tile_windows(share, SIZE, most)) == windows


@given(st.integers(40, 900), st.integers(40, 900), st.integers(2, 8))
def test_windows_cover_the_picture_and_overlap(height: int, width: int, most: int) -> None:
    windows = tile_windows(0.02, (height, width), most)
    seen = np.zeros((height, width), int)
    for rows, columns in windows:
        seen[rows, columns] += 1
    assert seen.all()
    count = round(len(windows) ** 0.5)
    rows = sorted({(one.start, one.stop) for one, _ in windows})
    assert len(rows) == count
    for (_, stop), (start, end) in pairwise(rows):
        assert stop - start >= OVERLAP * (end - start) - 2


def test_what_an_inner_edge_cuts_is_left_to_the_neighbour() -> None:
    window = slice(0, 120), slice(100, 300)
    found = squares(
        (0, 10, 5, 5),  # at the window's left edge, inside of the picture
        (195, 10, 5, 5),  # at its right edge, which is the picture's
        (50, 0, 5, 5),  # at its top, the picture's
        (50, 115, 5, 5),  # at its bottom, inside
        (60, 60, 5, 5),
        size_hw=(120, 200),
    )
    placed = in_picture(found, window, SIZE)
    assert placed.boxes_xyxy[:, :2].tolist() == [[295, 10], [150, 0], [160, 60]]
    assert placed.size_hw == SIZE


def test_an_object_that_two_windows_show_is_there_once() -> None:
    first, second = squares((100, 50, 20, 20), score=0.7), squares((102, 50, 20, 20), score=0.8)
    found = joined(Instances.empty(SIZE), [first, second])
    assert found.scores.tolist() == pytest.approx([0.8])


def test_a_fine_mask_goes_before_a_coarse_one_and_what_no_window_shows_remains() -> None:
    whole = squares((95, 45, 40, 40), (10, 10, 80, 80), score=0.99)
    closer = squares((100, 50, 20, 20), score=0.5)
    found = joined(whole, [closer])
    assert [mask.sum() for mask in found.masks] == [6400, 400]


def test_other_labels_are_other_objects() -> None:
    cell = squares((100, 50, 20, 20))
    other = Instances.of(cell.masks, cell.scores, ("nucleus",))
    assert len(joined(cell, [other])) == 2


def test_neighbours_that_touch_are_two() -> None:
    assert len(joined(squares((100, 50, 20, 20), (118, 50, 20, 20)), [])) == 2


CELLS = (Category("cell", "cell"),)


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(Task.GENERIC, categories=CELLS, score_threshold=0.0),
        Prompt(Task.VGD, (Box(10, 10, 6, 6),), categories=CELLS, score_threshold=0.0),
        Prompt(Task.VGD, (Point(12, 12),), label="cell", score_threshold=0.0),
    ],
    ids=["a label", "a box", "a click"],
)
@pytest.mark.parametrize(
    ("most", "share", "looks"), [(3, 0.09, 10), (3, None, 1), (0, 0.09, 1)], ids=["many", "few", "never"]
)
def test_many_small_objects_are_worth_a_closer_look(
    prompt: Prompt, most: int, share: float | None, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With random weights: whatever is found is in the picture, best first."""
    monkeypatch.setattr(searching, "many_small", lambda _found: share)
    predictor = small_predictor(closest_tiles=most)
    seen = counted(predictor, monkeypatch)
    found = predictor.candidates(predictor.encode(noise_picture(size_hw=(96, 128))), prompt).instances()
    assert found.size_hw == (96, 128)
    assert len(found)
    assert (np.diff(found.scores) <= 0).all()
    assert len(set(seen)) == looks


@pytest.mark.parametrize(
    ("sizes", "looks"),
    [
        pytest.param({"cell": 0.09, "house": 0.5}, 10, id="a small one among those asked for"),
        pytest.param({"cell": 0.4}, 1, id="large, whatever was found"),
        pytest.param({"dog": 0.05}, 10, id="unknown: by what was found"),
    ],
)
def test_a_version_knows_how_large_its_labels_are(
    sizes: dict[str, float], looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "many_small", lambda _found: 0.09)
    plain = small_predictor(closest_tiles=3)
    predictor = Predictor(plain.model, plain.tokenizer, "v", typical_sizes=sizes)
    sky = Category("dog", "dog", is_thing=False)
    labels = (Category("cell", "cell"), Category("house", "house"))
    for prompt in (
        Prompt(Task.GENERIC, categories=(*labels, sky)),
        Prompt(Task.VGD, (Box(10, 10, 6, 6), Box(40, 40, 50, 50)), categories=labels),
    ):
        encoded = counted(predictor, monkeypatch)
        predictor.answer(predictor.encode(noise_picture(size_hw=(96, 128))), prompt)
        assert len(set(encoded)) == looks


@pytest.mark.parametrize(
    ("prompt", "windows"),
    [
        pytest.param(Prompt(Task.VGD, (Point(12, 12),), label="cell"), 25, id="a click: as the project's are"),
        pytest.param(Prompt(Task.VGD, (Box(10, 10, 20, 9),), label="cell"), 4, id="larger here"),
        pytest.param(Prompt(Task.VGD, (Box(10, 10, 4, 4),), label="cell"), 64, id="smaller here"),
        pytest.param(Prompt(Task.VGD, (Box(10, 10, 40, 40),), label="cell"), 0, id="large here"),
        pytest.param(Prompt(Task.VGD, (Box(10, 10, 20, 9),), label="house"), 0, id="of a label of large ones"),
        pytest.param(
            Prompt(
                Task.VGD,
                (Box(10, 10, 60, 60), Box(10, 10, 13, 9), Box(10, 10, 9, 13), Box(10, 10, 40, 40)),
                tuple(Category(label, label) for label in ("house", "cell", "cell", "cell")),
            ),
            9,
            id="several: the median of the small label's",
        ),
    ],
)
def test_windows_fit_the_exemplars_that_are_drawn(
    prompt: Prompt, windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = small_predictor(closest_tiles=9)
    predictor = Predictor(plain.model, plain.tokenizer, "v", typical_sizes={"cell": 0.06, "house": 0.5})
    seen = counted(predictor, monkeypatch)
    predictor.answer(predictor.encode(noise_picture(size_hw=(96, 128)), keeps_looks=True), prompt)
    assert len(set(seen)) == 1 + windows


def test_a_guess_is_followed_less_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = small_predictor(closest_tiles=9)
    predictor = Predictor(plain.model, plain.tokenizer, "v", typical_sizes={"cell": 0.02})
    seen = counted(predictor, monkeypatch)
    predictor.answer(predictor.encode(noise_picture(size_hw=(96, 128))), Prompt(Task.GENERIC, categories=CELLS))
    assert len(set(seen)) == 1 + MOST_GUESSED**2


@pytest.mark.parametrize(
    ("sizes", "label", "is_known"),
    [
        pytest.param({"cell": 0.05, "house": 0.5}, "cell", True, id="a small label was chosen"),
        pytest.param({"cell": 0.05, "house": 0.5}, "house", False, id="a large one"),
        pytest.param({"cell": 0.05, "house": 0.5}, "dog", False, id="an unknown one"),
        pytest.param({"cell": 0.05, "house": 0.5}, None, False, id="none was, and one is large"),
        pytest.param({"cell": 0.05, "dot": 0.03}, None, True, id="none was, and all are small"),
        pytest.param({}, None, False, id="nothing is known"),
    ],
)
def test_a_click_on_what_is_known_to_be_small_begins_with_a_close_up(
    sizes: dict[str, float], label: str | None, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = small_predictor(close_up_share=0.5)
    predictor = Predictor(plain.model, plain.tokenizer, "v", typical_sizes=sizes)
    state = predictor.encode(noise_picture(size_hw=(96, 128)))
    looks: list[tuple[int, int]] = []
    pointing = predictor._pointing
    seen_object = pointing._seen_object

    def counting(seen: Any, *given: Any) -> Any:
        looks.append(seen.size_hw)
        return seen_object(seen, *given)

    monkeypatch.setattr(pointing, "_seen_object", counting)
    predictor.answer(state, Prompt(Task.INTERACTIVE, (Point(64, 48),), label=label, score_threshold=0.0))
    assert (max(looks[0]) <= 26) is is_known
    looks.clear()
    box = Prompt(Task.INTERACTIVE, (Box(60, 44, 8, 8),), label=label, score_threshold=0.0)
    predictor.answer(state, box)
    assert looks[0] == (96, 128), "a box says itself how large the object is"


def test_an_object_that_is_larger_than_its_label_says_is_seen_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = small_predictor(close_up_share=0.5)
    predictor = Predictor(plain.model, plain.tokenizer, "v", typical_sizes={"cell": 0.05})
    state = predictor.encode(noise_picture(size_hw=(96, 128)))
    large = np.zeros((96, 128), np.bool_)
    large[10:90, 10:120] = True

    really_seen = predictor._pointing._seen_object

    def everything(seen: Any, *given: Any) -> Any:
        mask = large if seen.size_hw == (96, 128) else np.ones(seen.size_hw, np.bool_)
        return replace(really_seen(seen, *given), mask=mask, score=0.9)

    monkeypatch.setattr(predictor._pointing, "_seen_object", everything)
    answer = predictor.answer(state, Prompt(Task.INTERACTIVE, (Point(64, 48),), label="cell"))
    assert np.array_equal(answer.instances.masks[0], large)


def test_others_may_have_the_model_between_batches_of_windows() -> None:
    plain = small_predictor(closest_tiles=3)
    predictor = Predictor(plain.model, plain.tokenizer, "v", typical_sizes={"cell": 0.09})
    state = predictor.encode(noise_picture(size_hw=(96, 128)))
    let_others = Mock()
    before = between_looks.set(let_others)
    try:
        predictor.answer(state, Prompt(Task.GENERIC, categories=CELLS))
    finally:
        between_looks.reset(before)
    assert let_others.call_count == 2, "nine windows are three batches"


def test_several_questions_look_through_the_same_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = small_predictor(closest_tiles=3)
    predictor = Predictor(plain.model, plain.tokenizer, "v", typical_sizes={"cell": 0.09})
    state = predictor.encode(noise_picture(size_hw=(96, 128)))
    prompts = [
        Prompt(Task.GENERIC, categories=CELLS, score_threshold=0.0),
        Prompt(Task.VGD, (Box(10, 10, 6, 6),), categories=CELLS, score_threshold=0.0),
    ]
    alone = [predictor.answer(state, prompt) for prompt in prompts]
    seen = counted(predictor, monkeypatch)
    keeping = predictor.encode(state.pixels, keeps_looks=True)
    together = [predictor.answer(keeping, prompt) for prompt in prompts]
    assert len(seen) == len(set(seen)) == 1 + 9
    for one, other in zip(alone, together, strict=True):
        assert len(one.instances) == len(other.instances) > 0
        assert np.allclose(one.instances.scores, other.instances.scores, atol=1e-4)


def test_large_objects_are_taken_from_the_whole_picture() -> None:
    """A window shows a piece of a house, which must not take the place of the house."""
    plain = small_predictor(closest_tiles=3)
    labels = (Category("cell", "cell"), Category("house", "house"))
    prompt = Prompt(Task.GENERIC, categories=labels, score_threshold=0.0)
    picture = noise_picture(size_hw=(96, 128))

    def houses(sizes: dict[str, float]) -> Instances:
        predictor = Predictor(plain.model, plain.tokenizer, "v", typical_sizes=sizes)
        found = predictor.answer(predictor.encode(picture), prompt).instances
        return found.select([i for i, label in enumerate(found.labels) if label == "house"])

    whole = houses({"cell": 0.5, "house": 0.5})
    assert len(whole)
    assert np.array_equal(houses({"cell": 0.09, "house": 0.5}).masks, whole.masks)
    assert len(houses({"cell": 0.09})) != len(whole)


def test_pictures_asked_about_together_are_answered_as_alone() -> None:
    predictor = small_predictor()
    pictures = [noise_picture(seed, size_hw=size) for seed, size in ((1, (96, 128)), (2, (60, 50)), (3, (40, 90)))]
    encoded, frames = predictor.dialogue.encode(pictures)
    together = predictor._searching.categories(encoded, CELLS)
    for picture, one, frame in zip(pictures, together, frames, strict=True):
        state = predictor.encode(picture)
        (alone,) = predictor._searching.categories(state.encoded, CELLS)
        assert frame == state.frame
        assert torch.allclose(one.class_logits, alone.class_logits, atol=1e-4)
        assert torch.allclose(one.mask_logits, alone.mask_logits, atol=1e-3)


def counted(predictor: Any, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The pictures that the predictor encodes from now on."""
    seen: list[bytes] = []
    look = predictor.dialogue.look

    def counting(images: Any) -> Any:
        seen.extend(image.tobytes() for image in images)
        return look(images)

    monkeypatch.setattr(predictor.dialogue, "look", counting)
    return seen
