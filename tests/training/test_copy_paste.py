"""Segments pasted into other photos: masks go with their pixels, and what is said stays true."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xsam_backend.evaluation.datasets.coco_folder import CocoRecord
from xsam_backend.ground_truth import Caption, Expression, GroundTruth
from xsam_backend.training.copy_paste import LEAST_LEFT_SHARE, LEAST_SEGMENT_PX, Cutout, Cutouts, paste

GREEN = (0, 255, 0)


def black(size_hw: tuple[int, int], *boxes: tuple[int, int, int, int], **fields) -> GroundTruth:
    """A black picture with one segment per box (x0, y0, x1, y1), all called "box"."""
    masks = np.zeros((len(boxes), *size_hw), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return GroundTruth(
        image=np.zeros((*size_hw, 3), np.uint8),
        masks=masks,
        names=("box",) * len(boxes),
        is_thing=np.ones(len(boxes), bool),
        is_crowd=np.zeros(len(boxes), bool),
        **fields,
    )


def disc(side: int, name: str = "disc") -> Cutout:
    """A green disc on red: where red shows, something was pasted that isn't the segment."""
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, (side // 2, side // 2), side // 2 - 1, 1, -1)
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[..., 0] = 255
    pixels[mask > 0] = GREEN
    return Cutout(pixels, mask.astype(bool), name)


@given(
    height=st.integers(60, 200),
    width=st.integers(60, 200),
    side=st.integers(30, 300),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=60, deadline=None)
def test_the_mask_lies_where_the_pixels_are(height: int, width: int, side: int, seed: int) -> None:
    ours = paste(black((height, width)), disc(side), np.random.default_rng(seed))
    mask = ours.masks[-1]
    green = ours.image[..., 1] > 127
    assert (mask ^ green).sum() <= 2.5 * np.sqrt(mask.sum()) + 4, "the same pixels, but for the soft edge"
    far = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) == 0
    assert not ours.image[far].any(), "nothing of what surrounded it comes along"
    assert ours.names == ("disc",)
    assert (ours.is_thing[-1], ours.is_crowd[-1]) == (True, False)


def test_what_it_covers_is_taken_from_other_masks() -> None:
    truth = black((100, 100), (0, 0, 100, 100), (0, 0, 100, 100))
    ours = paste(truth, disc(80), np.random.default_rng(0))
    assert ours.names == ("box", "box", "disc")
    for mask in ours.masks[:2]:
        assert np.array_equal(mask, ~ours.masks[2])


def test_what_is_covered_wholly_is_dropped() -> None:
    specks = [(x, y, x + 1, y + 1) for x in range(0, 100, 4) for y in range(0, 100, 4)]
    truth = black((100, 100), *specks, looks=("red",) * len(specks))
    ours = paste(truth, disc(80), np.random.default_rng(1))
    covered = sum(bool(ours.masks[-1][y, x]) for x, y, _, _ in specks)
    assert covered > 0
    assert len(ours.masks) == len(ours.names) == len(ours.looks) == len(specks) - covered + 1
    assert ours.masks.any((1, 2)).all()


def test_slivers_are_dropped_too() -> None:
    truth = black((100, 100), (0, 0, 100, 100), ignored=np.ones((100, 100), bool))
    whole = Cutout(np.full((97, 100, 3), 200, np.uint8), np.ones((97, 100), bool), "sheet")
    seen = set()
    for seed in range(60):
        ours = paste(truth, whole, np.random.default_rng(seed))
        left = 1 - ours.masks[-1].mean()
        assert ("box" in ours.names) is bool(left >= LEAST_LEFT_SHARE)
        assert np.array_equal(ours.ignored, ~ours.masks[-1]), "of what is pasted it is known what it is"
        seen.add("box" in ours.names)
    assert seen == {True}, "at most three quarters are covered"
    small = black((100, 100), (40, 40, 60, 60))
    kept = [paste(small, whole, np.random.default_rng(seed)) for seed in range(60)]
    left_px = [((~ours.masks[-1])[40:60, 40:60].sum(), "box" in ours.names) for ours in kept]
    assert all(there is bool(count >= LEAST_LEFT_SHARE * 400) for count, there in left_px)
    assert {there for _, there in left_px} == {True, False}


def test_the_rim_is_soft_also_at_the_box() -> None:
    sheet = Cutout(np.full((60, 60, 3), 200, np.uint8), np.ones((60, 60), bool), "sheet")
    ours = paste(black((100, 100)), sheet, np.random.default_rng(3))
    rows, columns = np.flatnonzero(ours.masks[-1].any(1)), np.flatnonzero(ours.masks[-1].any(0))
    middle = ours.image[:, columns[len(columns) // 2], 0]
    assert 0 < middle[rows[0]] < 190 < middle[rows[0] + 5]


def test_the_picture_it_came_from_is_left_alone() -> None:
    truth = black((100, 100), (0, 0, 100, 100))
    paste(truth, disc(80), np.random.default_rng(0))
    assert not truth.image.any()
    assert truth.masks.all()


@pytest.mark.parametrize(
    ("complete", "captions", "name", "expected"),
    [
        pytest.param(
            {"box", "disc"}, (), "disc", {"box", "disc"}, id="was known to be absent: now all of it is known"
        ),
        pytest.param({"box"}, (), "box", {"box"}, id="all of its kind were labelled, and this one is"),
        pytest.param(set(), (), "disc", {"disc"}, id="nothing tells of another"),
        pytest.param(set(), (), "box", set(), id="one labelled, maybe more unlabelled"),
        pytest.param(set(), ("A disc lies there.",), "disc", set(), id="the caption tells of another"),
        pytest.param({"disc"}, ("A disc lies there.",), "disc", {"disc"}, id="all were labelled, whatever is said"),
    ],
)
def test_whether_all_of_its_kind_are_known(
    complete: set[str], captions: tuple[str, ...], name: str, expected: set[str]
) -> None:
    truth = black((100, 100), (0, 0, 9, 9), complete_for=frozenset(complete), captions=tuple(map(Caption, captions)))
    assert paste(truth, disc(40, name), np.random.default_rng(0)).complete_for == expected


def test_phrases_and_spans_about_the_picture_as_it_was_are_dropped() -> None:
    about = Expression("the box in front", (0,))
    truth = black(
        (100, 100),
        (0, 0, 9, 9),
        referring=(about,),
        questions=(about,),
        captions=(Caption("a box", ((0, 5, (0,)),)),),
    )
    ours = paste(truth, disc(40), np.random.default_rng(0))
    assert (ours.referring, ours.questions) == ((), ())
    assert ours.captions == (Caption("a box"),)


def record(folder: Path, number: int, *boxes: tuple[str, int, int], **fields) -> CocoRecord:
    """A picture with segments (name, x, side) along its upper edge."""
    path = folder / f"{number}.png"
    Image.fromarray(np.full((120, 300, 3), number, np.uint8)).save(path)
    annotations = tuple(
        {"segmentation": [[x, 0, x + side, 0, x + side, side, x, side]], **fields} for _, x, side in boxes
    )
    names = tuple(name for name, _, _ in boxes)
    return CocoRecord(path, (120, 300), "train", False, names, frozenset(), _annotations=annotations)


def test_each_name_is_drawn_as_often(tmp_path: Path) -> None:
    many = [record(tmp_path, number, ("person", 0, 40), ("person", 50, 40)) for number in range(9)]
    cutouts = Cutouts([*many, record(tmp_path, 9, ("cat", 10, 50))])
    rng = np.random.default_rng(0)
    drawn = [cutouts.draw(rng) for _ in range(200)]
    cats = [cutout for cutout in drawn if cutout is not None and cutout.name == "cat"]
    assert 70 < len(cats) < 130, "ten times as many people"
    assert all(cat.mask.shape == (50, 50) and cat.mask.all() and (cat.pixels == 9).all() for cat in cats)


@pytest.mark.parametrize(
    ("side", "fields"),
    [
        pytest.param(int(LEAST_SEGMENT_PX**0.5) - 1, {}, id="too small"),
        pytest.param(60, {"iscrowd": 1}, id="a crowd"),
    ],
)
def test_what_cannot_stand_alone_is_not_drawn(tmp_path: Path, side: int, fields: dict) -> None:
    cutouts = Cutouts([record(tmp_path, 1, ("cat", 0, side), **fields)])
    assert cutouts.draw(np.random.default_rng(0)) is None
