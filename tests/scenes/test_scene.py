"""Whole scenes: the same for a seed, complete, and their words true of what they point at."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, LEAST_VISIBLE_PX, draw_scene, is_held_out
from xsam_backend.scenes.vocabulary import STUFF_NAMES, THING_NAMES

seeds = st.integers(0, 2 * FIRST_HELD_OUT_SEED)
sizes = st.tuples(st.integers(32, 200), st.integers(32, 200))


@settings(max_examples=20, deadline=None)
@given(seeds, sizes)
def test_every_pixel_belongs_to_exactly_one_segment(seed: int, size_hw: tuple[int, int]) -> None:
    truth = draw_scene(seed, size_hw)
    assert truth.size_hw == size_hw
    assert (truth.masks.sum(0) == 1).all()


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_segments_are_named_visible_and_complete(seed: int) -> None:
    truth = draw_scene(seed, (160, 160))
    things = [name for name, is_thing in zip(truth.names, truth.is_thing, strict=True) if is_thing]
    stuff = [name for name, is_thing in zip(truth.names, truth.is_thing, strict=True) if not is_thing]
    assert set(things) <= set(THING_NAMES)
    assert set(stuff) <= set(STUFF_NAMES)
    assert len(set(stuff)) == len(stuff), "one segment per stuff name"
    assert truth.complete_for == set(THING_NAMES + STUFF_NAMES)
    assert not truth.is_crowd.any()
    areas = truth.masks.sum((1, 2))
    assert (areas[truth.is_thing] >= LEAST_VISIBLE_PX).all()
    assert (areas > 0).all()


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_words_point_at_segments_that_exist(seed: int) -> None:
    truth = draw_scene(seed, (160, 160))
    texts = [expression.text for expression in truth.referring]
    assert len(set(texts)) == len(texts)
    for expression in truth.referring + truth.questions:
        assert list(expression.segments) == sorted({*expression.segments})
        assert all(0 <= segment < len(truth.names) for segment in expression.segments)
    assert truth.captions
    for caption in truth.captions:
        ends = [0, *(end for _, end, _ in caption.spans)]
        assert all(start >= last for (start, _, _), last in zip(caption.spans, ends, strict=False)), "spans in order"
        assert all(segments for _, _, segments in caption.spans)


def test_a_seed_is_one_scene() -> None:
    first, second, other = draw_scene(5), draw_scene(5), draw_scene(6)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.masks, second.masks)
    assert (first.referring, first.questions, first.captions) == (second.referring, second.questions, second.captions)
    assert not np.array_equal(first.image, other.image)
    assert first.source == "scene 5"


def test_the_shape_can_come_from_the_seed() -> None:
    shapes = {draw_scene(seed, None).size_hw for seed in range(6)}
    assert len(shapes) > 1
    assert all(256 <= side <= 512 for shape in shapes for side in shape)


def test_scenes_vary() -> None:
    scenes = [draw_scene(seed, (96, 96)) for seed in range(150)]
    assert {name for scene in scenes for name in scene.names} == set(THING_NAMES + STUFF_NAMES)
    counts = {int(scene.is_thing.sum()) for scene in scenes}
    assert min(counts) <= 3
    assert max(counts) >= 9
    spoken = [expression for scene in scenes for expression in scene.referring + scene.questions]
    assert {min(len(expression.segments), 2) for expression in spoken} == {0, 1, 2}, "absent, single and several"


@pytest.mark.parametrize(
    ("seed", "held_out"),
    [(0, False), (FIRST_HELD_OUT_SEED - 1, False), (FIRST_HELD_OUT_SEED, True)],
    ids=["first of training", "last of training", "first held out"],
)
def test_held_out_seeds(seed: int, held_out: bool) -> None:
    assert is_held_out(seed) is held_out


@pytest.mark.parametrize(
    ("seed", "size_hw", "message"),
    [(0, (31, 200), "at least 32 px"), (0, (200, 0), "at least 32 px"), (-1, (64, 64), "non-negative")],
    ids=["too low", "no width", "negative seed"],
)
def test_refused(seed: int, size_hw: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_scene(seed, size_hw)
