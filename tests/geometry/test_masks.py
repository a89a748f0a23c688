from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapes import TRICKY, from_text, masks

from xsam_backend.geometry.masks import (
    Mask,
    check_mask,
    connected_parts,
    interior_point,
    mask_iou,
    mask_to_box_xyxy,
    parts_touching,
    without_crumbs,
)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((2, 3), np.uint8), "uint8"),
        (np.zeros((1, 2, 3), bool), r"\(1, 2, 3\)"),
        (np.zeros((0, 3), bool), r"\(0, 3\)"),
        ([[True]], "list"),
    ],
    ids=["0/1 bytes", "a stack", "no pixels", "no array"],
)
def test_what_is_no_mask_is_named(wrong: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_mask(wrong)


def test_mask_of_another_size_is_refused() -> None:
    mask = np.zeros((2, 3), bool)
    assert check_mask(mask, (2, 3)) is mask
    with pytest.raises(ValueError, match=r"3 x 2.*got 2 x 3"):
        check_mask(mask, (3, 2))


@pytest.mark.parametrize(
    ("mask", "box"),
    [
        (TRICKY["one pixel"], (1, 1, 2, 2)),
        (TRICKY["full"], (0, 0, 6, 4)),
        (TRICKY["column, one pixel wide"], (2, 0, 3, 3)),
        (TRICKY["corner pixels of the picture"], (0, 0, 4, 3)),
        (TRICKY["empty"], None),
    ],
)
def test_box_maxima_are_exclusive(mask: Mask, box: tuple[int, ...] | None) -> None:
    assert mask_to_box_xyxy(mask) == box


@pytest.mark.parametrize(
    ("mask", "point", "reason"),
    [
        (TRICKY["one pixel"], (1.5, 1.5), "the pixel's centre, not its corner"),
        (np.ones((5, 5), bool), (2.5, 2.5), "the picture's rim counts as outside"),
        (np.ones((1, 9), bool), (4.5, 0.5), "the middle of a bar whose pixels are all equally deep"),
        (from_text("#......", "#.#####", "#.#####", "#.#####"), (4.5, 2.5), "the deepest place, not the mean"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_interior_point(mask: Mask, point: tuple[float, float], reason: str) -> None:
    assert interior_point(mask) == point, reason


@given(masks())
def test_interior_point_is_inside(mask: Mask) -> None:
    if mask.any():
        x, y = interior_point(mask)
        assert mask[int(y), int(x)]
        assert (x % 1, y % 1) == (0.5, 0.5)
    else:
        with pytest.raises(ValueError, match="empty"):
            interior_point(mask)


@pytest.mark.parametrize(
    ("name", "connectivity", "areas"),
    [
        ("two parts", 8, [6, 4]),
        ("two parts that touch at a corner", 8, [10]),
        ("two parts that touch at a corner", 4, [6, 4]),
        ("a part within a hole", 8, [16, 1]),
        ("empty", 8, []),
    ],
)
def test_connected_parts(name: str, connectivity: int, areas: list[int]) -> None:
    assert [int(part.sum()) for part in connected_parts(TRICKY[name], connectivity)] == areas


@given(masks())
def test_parts_make_up_the_mask_and_do_not_overlap(mask: Mask) -> None:
    parts = connected_parts(mask)
    total = np.sum(parts, axis=0) if parts else np.zeros(mask.shape, int)
    np.testing.assert_array_equal(total, mask.astype(int))


def test_iou() -> None:
    left, right = from_text("##.", "##."), from_text(".##", ".##")
    assert mask_iou(left, right) == pytest.approx(2 / 6)
    assert mask_iou(left, left) == 1
    assert mask_iou(left, ~left) == 0
    assert mask_iou(TRICKY["empty"], TRICKY["empty"]) == 1


@pytest.mark.parametrize(
    ("mask", "hints", "kept", "reason"),
    [
        (("##.##", "##.##"), ("#....", "....."), ("##...", "##..."), "the part beside has no hint"),
        (("##.##", "##.##"), ("#...#", "....."), ("##.##", "##.##"), "one hint in each"),
        (("##...", "..##."), ("#....", "....."), ("##...", "..##."), "a corner joins"),
        (("##.##", "##.##"), ("..#..", "....."), ("##.##", "##.##"), "a hint beside all: nothing to go by"),
        (("#####", "#####"), ("..#..", "....."), ("#####", "#####"), "one part only"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parts_touching(mask: tuple[str, ...], hints: tuple[str, ...], kept: tuple[str, ...], reason: str) -> None:
    assert np.array_equal(parts_touching(from_text(*mask), from_text(*hints)), from_text(*kept)), reason


@pytest.mark.parametrize(
    ("mask", "kept", "found", "reason"),
    [
        (("####.#", "####.."), ("......", "......"), ("####..", "####.."), "1 of 8 pixels is less than a quarter"),
        (("####.#", "####.#"), ("......", "......"), ("####.#", "####.#"), "2 of 8 are a quarter"),
        (("####.#", "####.."), (".....#", "......"), ("####.#", "####.."), "what somebody clicked on is no crumb"),
        (("####..", "#####."), ("......", "......"), ("####..", "#####."), "one part"),
        (("####..", "####.#"), ("....#.", "......"), ("####..", "####.."), "a click beside it keeps nothing"),
        (("###...", "...#.."), ("......", "......"), ("###...", "...#.."), "a corner joins"),
        (("#.#.#.", "......"), ("......", "......"), ("#.#.#.", "......"), "none is larger than the others"),
        (("......", "......"), ("#.....", "......"), ("......", "......"), "nothing at all"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_crumbs(mask: tuple[str, ...], kept: tuple[str, ...], found: tuple[str, ...], reason: str) -> None:
    ours = without_crumbs(from_text(*mask), from_text(*kept), 0.25)
    assert np.array_equal(ours, from_text(*found)), reason


@given(masks(), st.floats(0, 1), st.data())
def test_crumbs_are_whole_parts_and_never_the_largest(mask: Mask, share: float, data: st.DataObject) -> None:
    kept = data.draw(arrays(np.bool_, mask.shape))
    ours = without_crumbs(mask, kept, share)
    parts = connected_parts(mask)
    for part in parts:
        inside = ours[part]
        assert inside.all() or not inside.any()
        assert inside.all() == (part.sum() >= share * parts[0].sum() or (part & kept).any())
    assert not (ours & ~mask).any()
    assert np.array_equal(without_crumbs(ours, kept, share), ours)
