from __future__ import annotations

import numpy as np

from xsam_backend.instances import Instances
from xsam_backend.overlay import draw_overlay


def instances(*masks: np.ndarray, labels: tuple[str | None, ...] | None = None) -> Instances:
    scores = np.linspace(0.9, 0.5, len(masks)).astype(np.float32)
    return Instances.of(np.stack(masks), scores, labels or (None,) * len(masks))


def disc(size_hw: tuple[int, int], x: int, y: int, radius: int) -> np.ndarray:
    ys, xs = np.mgrid[: size_hw[0], : size_hw[1]]
    return (xs - x) ** 2 + (ys - y) ** 2 <= radius**2


def test_the_mask_is_tinted_and_the_rest_is_left() -> None:
    image = np.full((200, 300, 3), 100, np.uint8)
    mask = disc((200, 300), 150, 120, 40)
    drawn = draw_overlay(image, instances(mask))
    assert (drawn[120, 150] != 100).any()
    assert (drawn[190:, :] == 100).all()
    assert (image == 100).all(), "the picture itself stays"


def test_labels_have_colours_of_their_own() -> None:
    image = np.full((100, 300, 3), 100, np.uint8)
    masks = [disc((100, 300), x, 60, 25) for x in (50, 150, 250)]
    drawn = draw_overlay(image, instances(*masks, labels=("cat", "dog", "cat")))
    first, second, third = (drawn[75, x].tolist() for x in (50, 150, 250))
    assert first == third != second


def test_no_instance_no_change() -> None:
    image = np.full((20, 30, 3), 7, np.uint8)
    assert (draw_overlay(image, Instances.empty((20, 30))) == image).all()


def test_an_empty_mask_and_a_one_pixel_picture_do_no_harm() -> None:
    image = np.zeros((1, 1, 3), np.uint8)
    assert draw_overlay(image, instances(np.zeros((1, 1), bool))).shape == (1, 1, 3)
    assert draw_overlay(image, instances(np.ones((1, 1), bool), labels=("é" * 50,))).shape == (1, 1, 3)


def test_the_same_labels_have_the_same_colours_on_two_pictures() -> None:
    image = np.full((100, 300, 3), 100, np.uint8)
    cat, dog = disc((100, 300), 50, 60, 25), disc((100, 300), 150, 60, 25)
    first = draw_overlay(image, instances(cat, dog, labels=("cat", "dog")), first_labels=("cat", "dog"))
    second = draw_overlay(image, instances(dog, labels=("dog",)), first_labels=("cat", "dog"))
    assert (first[75, 150] == second[75, 150]).all()


def test_writing_can_be_less_or_nothing() -> None:
    image = np.full((100, 300, 3), 100, np.uint8)
    one = instances(disc((100, 300), 150, 60, 25), labels=("cat",))
    nothing, label, both = (
        draw_overlay(image, one, writing=what) for what in ("nothing", "label", "label and score")
    )
    ink = [(picture[:34] != 100).any(2).sum() for picture in (nothing, label, both)]
    assert ink[0] == 0
    assert ink[0] < ink[1] < ink[2]
