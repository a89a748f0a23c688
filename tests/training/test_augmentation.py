"""Other views of a labelled picture: masks go where their pixels go, words stay true."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsam_backend.ground_truth import Caption, Expression, GroundTruth
from xsam_backend.training.augmentation import AMONG_OTHERS, augment


def marked(size_hw: tuple[int, int], boxes: list[tuple[int, int, int, int]], **fields) -> GroundTruth:
    """White where the segments (x0, y0, x1, y1) are, black elsewhere: the picture shows where a mask belongs."""
    masks = np.zeros((len(boxes), *size_hw), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    image = np.where(masks.any(0), 255, 0).astype(np.uint8) if boxes else np.zeros(size_hw, np.uint8)
    return GroundTruth(
        image=np.repeat(image[..., None], 3, 2),
        masks=masks,
        names=tuple(f"thing {i}" for i in range(len(boxes))),
        is_thing=np.ones(len(boxes), bool),
        is_crowd=fields.pop("is_crowd", np.zeros(len(boxes), bool)),
        **fields,
    )


@given(
    height=st.integers(40, 160),
    width=st.integers(40, 160),
    corner=st.tuples(st.floats(0, 0.6), st.floats(0, 0.6)),
    side=st.sampled_from([64, 96, 320]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=80, deadline=None)
def test_masks_stay_on_their_pixels(
    height: int, width: int, corner: tuple[float, float], side: int, seed: int
) -> None:
    x0, y0 = int(corner[0] * width), int(corner[1] * height)
    truth = marked((height, width), [(x0, y0, x0 + width // 3, y0 + height // 3)])
    ours = augment(truth, np.random.default_rng(seed), side)
    assert max(ours.size_hw) <= side
    assert ours.image.flags.c_contiguous
    if not len(ours.masks):
        assert (ours.image.max(2) < 90).mean() > 0.99, "a dropped segment is out of sight"
        return
    # Light changes leave white above 150 and black below 30; a pixel along the edge may be either.
    white = ours.image.min(2) > 90
    mask = ours.masks[0]
    inner = mask & np.roll(mask, 3, 0) & np.roll(mask, -3, 0) & np.roll(mask, 3, 1) & np.roll(mask, -3, 1)
    outer = mask | np.roll(mask, 3, 0) | np.roll(mask, -3, 0) | np.roll(mask, 3, 1) | np.roll(mask, -3, 1)
    zoom = max(side / min(height, width), 1)
    if zoom <= 3:  # beyond it, an interpolated edge is wider than the three pixels allowed here
        assert white[inner].mean() > 0.99 if inner.any() else True
        assert (~white[~outer]).mean() > 0.99 if (~outer).any() else True


@pytest.mark.parametrize("seed", range(20))
def test_segments_keep_their_names_and_flags(seed: int) -> None:
    crowd = np.array([False, True, False])
    truth = marked((80, 120), [(0, 0, 40, 40), (45, 0, 80, 40), (85, 40, 119, 79)], is_crowd=crowd)
    truth = dataclasses.replace(truth, complete_for=frozenset(["thing 0", "cat"]), source="here")
    ours = augment(truth, np.random.default_rng(seed), 96)
    kept = [int(name.split()[1]) for name in ours.names]
    assert kept == sorted(set(kept))
    assert ours.is_crowd.tolist() == [bool(crowd[index]) for index in kept]
    assert ours.masks.any((1, 2)).all()
    assert ours.complete_for == truth.complete_for
    assert ours.source == "here"


ON_THE_LEFT = Expression("the thing on the left", (0,))


@pytest.mark.parametrize(
    "words",
    [
        {"referring": (ON_THE_LEFT,)},
        {"questions": (Expression("What is on the left?", (0,)),)},
        {"captions": (Caption("A thing on the left.", ((2, 7, (0,)),)),)},
    ],
    ids=["phrases", "questions", "grounded captions"],
)
def test_a_picture_with_words_about_it_is_only_relit(words: dict) -> None:
    """ "The ball on the left" would be a lie in a mirror."""
    truth = marked((40, 60), [(0, 0, 20, 20)], **words)
    for seed in range(10):
        ours = augment(truth, np.random.default_rng(seed), 32)
        assert ours.masks is truth.masks
        assert ours.image.shape == truth.image.shape
        for name, value in words.items():
            assert getattr(ours, name) == value


def test_captions_of_the_whole_picture_keep_it_from_nothing() -> None:
    """Photos have such; nothing is asked about them."""
    truth = marked((40, 60), [(0, 0, 20, 20)], captions=(Caption("A thing."),))
    assert len({augment(truth, np.random.default_rng(seed), 32).size_hw for seed in range(20)}) > 1


def test_the_same_seed_gives_the_same_view() -> None:
    truth = marked((80, 120), [(10, 10, 60, 60)])
    views = [augment(truth, np.random.default_rng(seed), 64) for seed in (3, 3, 4)]
    assert np.array_equal(views[0].image, views[1].image)
    assert np.array_equal(views[0].masks, views[1].masks)
    assert not np.array_equal(views[0].image, views[2].image)


def test_views_differ_in_every_way() -> None:
    """Cut-outs, mirror images and other light all occur."""
    truth = marked((100, 100), [(0, 40, 30, 60)])
    views = [augment(truth, np.random.default_rng(seed), 100) for seed in range(60)]
    left = [view.masks[0][:, :50].sum() > view.masks[0][:, 50:].sum() for view in views if len(view.masks)]
    assert any(left)
    assert not all(left)
    assert any(not len(view.masks) for view in views)
    assert len({int(view.image.max()) for view in views}) > 5
    assert len({view.size_hw for view in views}) > 5


def test_small_segments_are_shown_enlarged_among_others() -> None:
    """A quarter of the views is a window in which one is as large as when small objects are looked at again."""
    spots = [(x, y, x + 8, y + 8) for x in range(4, 190, 20) for y in range(4, 190, 20)]
    truth = marked((200, 200), spots)
    enlarged, companions = 0, []
    for seed in range(200):
        view = augment(truth, np.random.default_rng(seed), 200)
        sides = [np.ptp(mask.nonzero()[1]) + 1 for mask in view.masks]
        low, high = (share * 200 for share in AMONG_OTHERS)
        if sides and low - 5 <= max(sides) <= high + 10:
            enlarged += 1
            companions.append(len(sides))
    assert 30 <= enlarged <= 80
    assert np.median(companions) > 3


def test_pictures_without_segments_have_views_too() -> None:
    ours = augment(marked((50, 70), []), np.random.default_rng(0), 32)
    assert ours.masks.shape == (0, *ours.size_hw)
