"""The outlines of things: each name is a few polygons in a unit frame, a little different each time.

Frame: x to the right, y down, the thing about within -1..1. Parts are painted in order; together they are the thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from xsam_backend.scenes.vocabulary import THING_NAMES

Polygon = NDArray[np.float64]
"""(N, 2) xy."""


@dataclass(frozen=True)
class Part:
    """One painted area: a ring and its holes (even-odd), and what it is made of.

    ``role`` "main" takes the thing's own surface, "dark" and "light" are shades of its colour, others are
    materials of ``surfaces.MATERIALS``.
    """

    rings: tuple[Polygon, ...]
    role: str = "main"


Builder = Callable[[np.random.Generator], list[Part]]


def ellipse(x: float, y: float, rx: float, ry: float | None = None, turn: float = 0.0) -> Polygon:
    """An ellipse about (x, y), turned clockwise by ``turn`` radians."""
    ry = rx if ry is None else ry
    return np.array([x, y]) + _turned(_CIRCLE * (rx, ry), turn)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    """The axis-parallel rectangle between two corners."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def polygon(*points: tuple[float, float]) -> Polygon:
    """The polygon through the points."""
    return np.array(points, float)


def bar(x0: float, y0: float, x1: float, y1: float, width: float) -> Polygon:
    """A straight stroke from one point to the other."""
    start, end = np.array([x0, y0]), np.array([x1, y1])
    along = (end - start) / np.linalg.norm(end - start)
    side = np.array([-along[1], along[0]]) * width / 2
    return np.stack([start + side, end + side, end - side, start - side])


def regular(corners: int, radius: float = 1.0, inner: float | None = None) -> Polygon:
    """A regular polygon with a corner at the top, or a star when an inner radius is given."""
    count = corners if inner is None else 2 * corners
    angles = np.arange(count) * (2 * np.pi / count) - np.pi / 2
    radii = np.full(count, float(radius))
    if inner is not None:
        radii[1::2] = inner
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1)


def _turned(points: Polygon, angle: float) -> Polygon:
    cos, sin = np.cos(angle), np.sin(angle)
    turned: Polygon = points @ np.array([[cos, sin], [-sin, cos]])
    return turned


_ANGLES = np.arange(40) * (2 * np.pi / 40)
_CIRCLE: Polygon = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)


def _ball(rng: np.random.Generator) -> list[Part]:
    return [Part((ellipse(0, 0, 1),))]


def _box(rng: np.random.Generator) -> list[Part]:
    high = rng.uniform(0.65, 1)
    parts = [Part((rectangle(-1, -high, 1, high),))]
    if rng.random() < 0.3:
        parts.append(Part((rectangle(-1, -high, 1, -high + 0.3),), "dark"))
    return parts


def _triangle(rng: np.random.Generator) -> list[Part]:
    return [Part((polygon((rng.uniform(-0.4, 0.4), -1), (1, 0.8), (-1, 0.8)),))]


def _star(rng: np.random.Generator) -> list[Part]:
    return [Part((regular(int(rng.choice([5, 5, 5, 6, 7])), 1, rng.uniform(0.38, 0.52)),))]


def _ring(rng: np.random.Generator) -> list[Part]:
    return [Part((ellipse(0, 0, 1), ellipse(0, 0, rng.uniform(0.42, 0.68))))]


def _cross(rng: np.random.Generator) -> list[Part]:
    arm = rng.uniform(0.26, 0.42)
    points = [(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm)]
    return [Part((polygon(*points, *((-x, -y) for x, y in points)),))]


def _heart(rng: np.random.Generator) -> list[Part]:
    t = np.linspace(0, 2 * np.pi, 48, False)
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    return [Part((np.stack([x, y], 1),))]


def _moon(rng: np.random.Generator) -> list[Part]:
    tip, depth = rng.uniform(0.75, 0.95), rng.uniform(0.15, 0.5)
    start = np.arcsin(tip)
    outer_angles = np.linspace(start, 2 * np.pi - start, 32)
    outer = np.stack([np.cos(outer_angles), np.sin(outer_angles)], 1)
    ys = np.linspace(-tip, tip, 20)[1:-1]
    inner_x = np.cos(start) - (np.cos(start) + depth) * (1 - (ys / tip) ** 2) ** 0.6
    return [Part((np.concatenate([outer, np.stack([inner_x, ys], 1)]),))]


def _diamond(rng: np.random.Generator) -> list[Part]:
    wide = rng.uniform(0.5, 0.75)
    return [Part((polygon((0, -1), (wide, 0), (0, 1), (-wide, 0)),))]


def _hexagon(rng: np.random.Generator) -> list[Part]:
    return [Part((regular(6),))]


def _egg(rng: np.random.Generator) -> list[Part]:
    points = ellipse(0, 0, 0.74, 1)
    points[:, 0] *= 1 + 0.18 * points[:, 1]
    return [Part((points,))]


def _arrow(rng: np.random.Generator) -> list[Part]:
    shaft, head = rng.uniform(0.16, 0.28), rng.uniform(-0.1, 0.25)
    wing = rng.uniform(0.55, 0.75)
    upper = [(-1.0, -shaft), (head, -shaft), (head, -wing), (1.0, 0.0)]
    return [Part((polygon(*upper, *((x, -y) for x, y in reversed(upper[:-1]))),))]


def _cup(rng: np.random.Generator) -> list[Part]:
    foot = rng.uniform(0.4, 0.62)
    return [
        Part((ellipse(0.68, 0, 0.36, 0.45), ellipse(0.68, 0, 0.2, 0.28))),
        Part((polygon((-0.75, -0.8), (0.7, -0.8), (foot, 0.85), (-foot, 0.85)),)),
        Part((ellipse(-0.02, -0.8, 0.73, 0.17),), "dark"),
    ]


def _house(rng: np.random.Generator) -> list[Part]:
    side = float(rng.choice([-1, 1]))
    parts = [] if rng.random() < 0.5 else [Part((rectangle(side * 0.35, -0.95, side * 0.58, -0.3),), "dark")]
    parts += [
        Part((rectangle(-0.8, -0.25, 0.8, 1),)),
        Part((polygon((-1, -0.2), (0, -1), (1, -0.2)),), "dark"),
        Part((rectangle(side * 0.1, 0.35, side * 0.5, 1),), "wood"),
        Part((rectangle(-side * 0.6, 0.05, -side * 0.2, 0.45),), "glass"),
    ]
    return parts


def _tree(rng: np.random.Generator) -> list[Part]:
    trunk = Part((rectangle(-0.14, 0.2, 0.14, 1),), "wood")
    if rng.random() < 0.4:
        tiers = [
            polygon((0, y - 0.75), (wide, y), (-wide, y)) for y, wide in ((0.6, 0.75), (0.15, 0.6), (-0.3, 0.45))
        ]
        return [trunk, *(Part((tier,)) for tier in tiers)]
    lobes = [(0.0, -0.45, 0.55), (-0.4, -0.1, 0.42), (0.4, -0.1, 0.42), (0.0, 0.05, 0.45)]
    return [trunk, *(Part((ellipse(x, y, r * rng.uniform(0.9, 1.1)),)) for x, y, r in lobes)]


def _car(rng: np.random.Generator) -> list[Part]:
    back, front = rng.uniform(-0.8, -0.5), rng.uniform(0.3, 0.6)
    parts = [
        Part((polygon((back, -0.1), (back + 0.25, -0.6), (front - 0.3, -0.6), (front, -0.1)),)),
        Part((polygon((-1, -0.05), (-0.92, -0.14), (0.9, -0.14), (1, 0.1), (1, 0.35), (-1, 0.35)),)),
        Part((polygon((back + 0.14, -0.12), (back + 0.31, -0.49), (-0.1, -0.49), (-0.1, -0.12)),), "glass"),
        Part((polygon((0, -0.12), (0, -0.49), (front - 0.36, -0.49), (front - 0.16, -0.12)),), "glass"),
    ]
    for x in (-0.55, 0.55):
        parts += [Part((ellipse(x, 0.35, 0.25),), "rubber"), Part((ellipse(x, 0.35, 0.11),), "metal")]
    return parts


def _fish(rng: np.random.Generator) -> list[Part]:
    high = rng.uniform(0.38, 0.55)
    return [
        Part((polygon((0.45, 0), (1, -0.5), (0.88, 0), (1, 0.5)),), "dark"),
        Part((polygon((-0.25, -high * 0.8), (0.15, -high * 1.5), (0.35, -high * 0.5)),), "dark"),
        Part((ellipse(-0.2, 0, 0.8, high),)),
        Part((ellipse(-0.62, -0.12, 0.12),), "paper"),
        Part((ellipse(-0.64, -0.12, 0.06),), "ink"),
    ]


def _flower(rng: np.random.Generator) -> list[Part]:
    petals, reach = int(rng.integers(5, 9)), rng.uniform(0.34, 0.42)
    stemmed = rng.random() < 0.6
    middle, scale = (-0.4, 0.6) if stemmed else (0.0, 1.0)
    parts = []
    if stemmed:
        parts = [Part((bar(0, middle, 0, 1, 0.12),), "stem"), Part((ellipse(0.25, 0.6, 0.28, 0.1, -0.5),), "stem")]
    for angle in np.arange(petals) * (2 * np.pi / petals):
        x, y = 0.6 * scale * np.cos(angle), middle + 0.6 * scale * np.sin(angle)
        parts.append(Part((ellipse(x, y, 0.42 * scale, reach * scale * 5.5 / petals, angle),)))
    return [*parts, Part((ellipse(0, middle, 0.27 * scale),), "pollen")]


def _umbrella(rng: np.random.Generator) -> list[Part]:
    angles = np.linspace(np.pi, 2 * np.pi, 24)
    dome = np.stack([np.cos(angles), 0.1 + 0.95 * np.sin(angles)], 1)
    across = np.linspace(1, -1, 25)
    scallops = np.stack([across, 0.1 - 0.14 * np.abs(np.sin(across * 2 * np.pi))], 1)[1:-1]
    return [
        Part((bar(0, -0.95, 0, 0.8, 0.08),), "wood"),
        Part((ellipse(0.13, 0.8, 0.17), ellipse(0.13, 0.8, 0.09)), "wood"),
        Part((np.concatenate([dome, scallops]),)),
        Part((polygon((-0.05, -0.85), (0.05, -0.85), (0.32, 0.02), (0.2, -0.02)),), "dark"),
        Part((polygon((-0.05, -0.85), (0.05, -0.85), (-0.2, -0.02), (-0.32, 0.02)),), "dark"),
    ]


def _key(rng: np.random.Generator) -> list[Part]:
    teeth = [rectangle(x, 0, x + 0.14, rng.uniform(0.25, 0.42)) for x in (0.55, 0.8)]
    return [
        Part((bar(-0.3, 0, 1, 0, 0.2),)),
        *(Part((tooth,)) for tooth in teeth),
        Part((ellipse(-0.55, 0, 0.45), ellipse(-0.55, 0, 0.22))),
    ]


def _boat(rng: np.random.Generator) -> list[Part]:
    return [
        Part((bar(0, -1, 0, 0.4, 0.08),), "wood"),
        Part((polygon((0.07, -0.95), (rng.uniform(0.55, 0.85), 0.25), (0.07, 0.25)),), "paper"),
        Part((polygon((-0.07, -0.75), (-0.07, 0.25), (-rng.uniform(0.4, 0.65), 0.25)),), "paper"),
        Part((polygon((-1, 0.35), (1, 0.35), (0.65, 0.85), (-0.65, 0.85)),)),
    ]


def _bottle(rng: np.random.Generator) -> list[Part]:
    wide = rng.uniform(0.34, 0.46)
    half = [(0.13, -0.85), (0.13, -0.5), (wide, -0.15), (wide, 1.0)]
    return [
        Part((polygon(*half, *((-x, y) for x, y in reversed(half))),)),
        Part((rectangle(-0.16, -1, 0.16, -0.8),), "dark"),
        Part((rectangle(-wide, 0.15, wide, 0.6),), "paper"),
    ]


def _mushroom(rng: np.random.Generator) -> list[Part]:
    angles = np.linspace(np.pi, 2 * np.pi, 24)
    cap = np.stack([np.cos(angles), 0.1 + np.sin(angles)], 1)
    wide = rng.uniform(0.2, 0.34)
    stalk = polygon((-wide, 0), (wide, 0), (wide * 1.25, 1), (-wide * 1.25, 1))
    spots = [(-0.5, -0.25, 0.13), (0.05, -0.55, 0.17), (0.52, -0.2, 0.12)] if rng.random() < 0.6 else []
    return [
        Part((stalk,), "paper"),
        Part((np.concatenate([cap, ellipse(0, 0.1, 1, 0.16)[:21]]),)),
        *(Part((ellipse(x, y, r),), "paper") for x, y, r in spots),
    ]


def _kite(rng: np.random.Generator) -> list[Part]:
    tail = [(0.0, 0.4), (0.18, 0.58), (-0.12, 0.76), (0.12, 1.0)]
    strokes = [bar(*start, *end, 0.07) for start, end in pairwise(tail)]
    return [
        *(Part((stroke,), "dark") for stroke in strokes),
        Part((polygon((0, -1), (0.62, -0.35), (0, 0.5), (-0.62, -0.35)),)),
        Part((bar(0, -1, 0, 0.5, 0.06),), "dark"),
        Part((bar(-0.62, -0.35, 0.62, -0.35, 0.06),), "dark"),
    ]


def _clock(rng: np.random.Generator) -> list[Part]:
    parts = [Part((ellipse(0, 0, 1),)), Part((ellipse(0, 0, 0.78),), "paper")]
    for angle in np.arange(12) * (np.pi / 6):
        c, s = np.cos(angle), np.sin(angle)
        parts.append(Part((bar(0.62 * c, 0.62 * s, 0.74 * c, 0.74 * s, 0.06),), "ink"))
    for length, angle in ((0.38, rng.uniform(0, 2 * np.pi)), (0.58, rng.uniform(0, 2 * np.pi))):
        parts.append(Part((bar(0, 0, length * np.cos(angle), length * np.sin(angle), 0.09),), "ink"))
    return parts


def _leaf(rng: np.random.Generator) -> list[Part]:
    wide = rng.uniform(0.4, 0.6)
    t = np.linspace(0, np.pi, 20)
    upper = np.stack([-0.8 + 0.9 * (1 - np.cos(t)), -wide * np.sin(t) ** 1.2], 1)
    lower = upper[::-1][1:-1] * (1, -1)
    veins = [bar(x, 0, x + 0.25, sign * wide * 0.5, 0.04) for x in (-0.4, 0.0, 0.35) for sign in (-1, 1)]
    return [
        Part((bar(-1, 0.06, -0.75, 0, 0.08),), "dark"),
        Part((np.concatenate([upper, lower]),)),
        Part((bar(-0.8, 0, 0.85, 0, 0.06),), "dark"),
        *(Part((vein,), "dark") for vein in veins),
    ]


def _balloon(rng: np.random.Generator) -> list[Part]:
    sway = rng.uniform(-0.2, 0.2)
    return [
        Part((bar(0, 0.45, sway, 0.75, 0.045),), "ink"),
        Part((bar(sway, 0.73, -sway / 2, 1, 0.045),), "ink"),
        Part((polygon((0, 0.38), (0.1, 0.52), (-0.1, 0.52)),), "dark"),
        Part((ellipse(0, -0.28, 0.6, 0.7),)),
    ]


def _hat(rng: np.random.Generator) -> list[Part]:
    high, top = rng.uniform(0.6, 0.85), rng.uniform(0.4, 0.55)
    return [
        Part((ellipse(0, 0.45, 1, 0.24),)),
        Part((polygon((-0.58, 0.45), (-top, -high), (top, -high), (0.58, 0.45)),)),
        Part((ellipse(0, -high, top, 0.12),)),
        Part((polygon((-0.58, 0.42), (-0.55, 0.14), (0.55, 0.14), (0.58, 0.42)),), "ink"),
    ]


def _lamp(rng: np.random.Generator) -> list[Part]:
    top = rng.uniform(0.25, 0.45)
    return [
        Part((bar(0, -0.2, 0, 0.9, 0.1),), "metal"),
        Part((ellipse(0, 0.9, 0.48, 0.12),), "metal"),
        Part((polygon((-top, -1), (top, -1), (0.78, -0.05), (-0.78, -0.05)),)),
    ]


def _butterfly(rng: np.random.Generator) -> list[Part]:
    spread = rng.uniform(0.5, 0.75)
    parts = []
    for sign in (-1, 1):
        parts += [
            Part((bar(0, -0.4, sign * 0.25, -0.85, 0.05),), "ink"),
            Part((ellipse(sign * 0.5, -0.35, 0.56, 0.4, -sign * spread),)),
            Part((ellipse(sign * 0.4, 0.38, 0.42, 0.32, sign * spread),)),
            Part((ellipse(sign * 0.55, -0.42, 0.16),), "dark"),
        ]
    return [*parts, Part((ellipse(0, 0, 0.11, 0.6),), "ink")]


def _rocket(rng: np.random.Generator) -> list[Part]:
    t = np.linspace(0, np.pi, 16)
    nose = np.stack([0.36 * np.cos(t), -0.45 - 0.55 * np.sin(t)], 1)
    return [
        Part((polygon((-0.3, 0.25), (-0.75, 0.9), (-0.3, 0.75)),), "dark"),
        Part((polygon((0.3, 0.25), (0.75, 0.9), (0.3, 0.75)),), "dark"),
        Part((polygon((-0.2, 0.75), (0.2, 0.75), (0, 1.1)),), "pollen"),
        Part((np.concatenate([nose, polygon((-0.36, 0.78), (0.36, 0.78))]),)),
        Part((ellipse(0, -0.2, 0.19),), "glass"),
    ]


def _apple(rng: np.random.Generator) -> list[Part]:
    return [
        Part((bar(0, -0.45, 0.12, -1, 0.1),), "wood"),
        Part((ellipse(0.34, -0.84, 0.28, 0.12, -0.4),), "stem"),
        Part((ellipse(-0.32, 0.05, 0.62, 0.72),)),
        Part((ellipse(0.32, 0.05, 0.62, 0.72),)),
        Part((ellipse(0, 0.35, 0.55, 0.55),)),
    ]


_ALL: tuple[Builder, ...] = (
    *(_ball, _box, _triangle, _star, _ring, _cross, _heart, _moon, _diamond, _hexagon, _egg, _arrow, _cup, _house),
    *(_tree, _car, _fish, _flower, _umbrella, _key, _boat, _bottle, _mushroom, _kite, _clock, _leaf, _balloon, _hat),
    *(_lamp, _butterfly, _rocket, _apple),
)

BUILDERS: dict[str, Builder] = dict(zip(THING_NAMES, _ALL, strict=True))
"""How to build each name of ``vocabulary.THING_NAMES``."""

ANY_TURN = frozenset(
    ("ball", "triangle", "star", "ring", "cross", "hexagon", "arrow", "key", "leaf", "clock", "egg", "moon", "fish")
    + ("butterfly", "kite", "heart")
)
"""Names drawn at any rotation. The others stand upright, more or less: a box on its corner would be a diamond."""


def build(name: str, rng: np.random.Generator) -> list[Part]:
    """The parts of a thing, in painting order, about within -1..1."""
    return BUILDERS[name](rng)
