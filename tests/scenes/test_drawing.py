"""Shapes, surfaces, stuff and camera: recognisable, nameable, and within their frames."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsam_backend.scenes.camera import photographed
from xsam_backend.scenes.grounds import TEXTURES, draw_stuff
from xsam_backend.scenes.shapes import ANY_TURN, BUILDERS, build
from xsam_backend.scenes.surfaces import MATERIALS, PATTERNS, named_colour, surface
from xsam_backend.scenes.vocabulary import COLOURS, STUFF_NAMES, THING_NAMES


def silhouette(name: str, seed: int = 0) -> np.ndarray:
    canvas = np.zeros((130, 130), np.uint8)
    for part in build(name, np.random.default_rng(seed)):
        cv2.fillPoly(canvas, [np.round(ring * 50 + 65).astype(np.int32) for ring in part.rings], 1)
    return canvas.astype(bool)


@pytest.mark.parametrize("name", THING_NAMES)
def test_things_fill_their_frame(name: str) -> None:
    for seed in range(5):
        parts = build(name, np.random.default_rng(seed))
        points = np.concatenate([ring for part in parts for ring in part.rings])
        assert np.abs(points).max() <= 1.25
        assert (np.ptp(points, axis=0)).max() >= 1.6
        assert {part.role for part in parts} <= {"main", "dark", "light", *MATERIALS}
        assert "main" in {part.role for part in parts}
        filled = silhouette(name, seed)
        assert cv2.connectedComponents(filled.astype(np.uint8))[0] == 2, "one connected thing"
        assert filled.sum() >= 0.18 * 100 * 100


@pytest.mark.parametrize(
    ("name", "xy", "inside"),
    [
        ("ring", (0, 0), False),
        ("ball", (0, 0), True),
        ("moon", (0.9, 0), False),
        ("star", (0.3, 0), True),
        ("cross", (0.9, 0.9), False),
        ("key", (-0.55, 0), False),
        ("cup", (0.68, 0), False),
    ],
    ids=["a ring's hole", "a ball", "a moon's hollow", "a star is not spindly", "a cross's corner", "bow", "handle"],
)
def test_where_shapes_are_filled(name: str, xy: tuple[float, float], inside: bool) -> None:
    column, row = (round(value * 50 + 65) for value in xy)
    assert [bool(silhouette(name, seed)[row, column]) for seed in range(5)] == [inside] * 5


def test_every_name_can_be_drawn() -> None:
    assert tuple(BUILDERS) == THING_NAMES
    assert set(THING_NAMES) >= ANY_TURN
    assert not {"box", "diamond"} & ANY_TURN, "one would look like the other"
    assert set(TEXTURES) == set(STUFF_NAMES)


@given(st.sampled_from(tuple(COLOURS)), st.integers(0, 10**6))
def test_a_drawn_colour_is_nearest_to_its_own_name(name: str, seed: int) -> None:
    colour = np.array(named_colour(name, np.random.default_rng(seed)))
    assert min(COLOURS, key=lambda other: float(((np.array(COLOURS[other]) - colour) ** 2).sum())) == name


@pytest.mark.parametrize("pattern", PATTERNS)
def test_surfaces(pattern: str) -> None:
    for seed in range(10):
        colour = (200.0, 40.0, 40.0)
        picture = surface(colour, pattern, (60, 90), np.random.default_rng(seed))
        assert picture.shape == (60, 90, 3)
        shades = len(np.unique(picture.reshape(-1, 3), axis=0))
        own = (np.abs(picture.astype(int) - np.array(colour)).max(-1) <= 1).mean()
        if pattern == "plain":
            assert shades == 1
        elif pattern in ("gradient", "noisy"):
            assert shades > 10
        else:
            assert shades == 2
            assert 0.3 < own < 0.9, "both colours of a pattern show"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.tuples(st.integers(32, 150), st.integers(32, 150)))
def test_stuff_covers_the_picture(seed: int, size_hw: tuple[int, int]) -> None:
    picture, region, names = draw_stuff(np.random.default_rng(seed), size_hw)
    assert picture.shape == (*size_hw, 3)
    assert region.shape == size_hw
    assert 2 <= len(names) <= 4
    assert len(set(names)) == len(names)
    assert region.max() < len(names)


def test_the_camera_changes_pictures_but_not_beyond_recognition() -> None:
    picture = np.full((64, 80, 3), 200, np.uint8)
    picture[:, :40] = (40, 60, 160)
    changed = 0
    for seed in range(40):
        taken = photographed(picture, np.random.default_rng(seed))
        assert taken.shape == picture.shape
        assert taken.dtype == np.uint8
        changed += not np.array_equal(taken, picture)
        left, right = taken[:, 5:35].mean((0, 1)), taken[:, 45:75].mean((0, 1))
        assert left[2] > left[0] + 30, "blue stays blue"
        assert np.ptp(right) < 30, "grey stays grey"
    assert changed > 25
