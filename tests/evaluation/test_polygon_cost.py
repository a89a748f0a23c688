"""Polygon costs of shapes whose corners can be counted."""

import numpy as np
import pytest

from xsam_backend.evaluation.polygon_cost import polygon_cost
from xsam_backend.geometry.masks import Mask


def block(y0: int, y1: int, x0: int, x1: int) -> Mask:
    mask = np.zeros((60, 80), np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


SQUARE = block(10, 50, 10, 50)


@pytest.mark.parametrize(
    ("mask", "min_iou", "vertices", "polygons"),
    [
        (SQUARE, 1.0, 4, 1),
        (SQUARE | block(10, 30, 50, 70), 1.0, 6, 1),
        (SQUARE | block(10, 50, 55, 75), 1.0, 8, 2),
        (SQUARE & ~block(20, 40, 20, 40), 1.0, 4 + 4 + 2, 1),
        (SQUARE | block(10, 11, 50, 51), 1.0, 6, 1),
        (SQUARE | block(10, 11, 50, 51), 0.97, 4, 1),
        (block(0, 0, 0, 0), 0.97, 0, 0),
    ],
    ids=[
        "a square has four corners",
        "an L has six",
        "two parts",
        "a hole: its four corners, and the way there and back",
        "one pixel too many costs two corners",
        "which a lower fidelity saves",
        "nothing",
    ],
)
def test_by_hand(mask: Mask, min_iou: float, vertices: int, polygons: int) -> None:
    cost = polygon_cost(mask, min_iou)
    assert (cost.vertices, cost.polygons) == (vertices, polygons)
    assert min_iou <= cost.iou <= 1


def test_more_fidelity_costs_more() -> None:
    rows, columns = np.indices((200, 200)) + 0.5
    disc = (rows - 100) ** 2 + (columns - 100) ** 2 <= 80**2
    costs = [polygon_cost(disc, fidelity) for fidelity in (0.8, 0.9, 0.97, 0.99, 1.0)]
    vertices = [cost.vertices for cost in costs]
    assert vertices == sorted(vertices)
    assert vertices[0] <= 8, "a regular octagon in a circle covers 0.90 of it"
    assert 9 <= vertices[2] <= 14, "inscribed, one with 14 corners covers 0.967; one of the same area needs fewer"
    assert all(cost.iou >= least for cost, least in zip(costs, (0.8, 0.9, 0.97, 0.99, 1.0), strict=True))
