"""Curves as SVG inside a page: where lines and ticks go. The template draws them, and escapes what is written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from xsam_backend.evaluation.results import Curve

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44
"""Room for ticks and titles, in the drawing's units."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One series: ``paths`` are SVG paths, one for each stretch without gaps; ``dots`` are its points.

    Many points have no dots, nor has a straight line between two.
    """

    title: str
    number: int
    paths: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class DrawnCurve:
    """A curve in the drawing's units: x to the right, y down."""

    curve: Curve
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


MOST_DOTS = 25


def drawn(curve: Curve) -> DrawnCurve:
    """The curve laid out; y from 0 to 1."""
    low, high = curve.x_range
    steps = [low + (high - low) * step / 5 for step in range(6)]
    if high > 1:
        steps = [value for value in range(int(low), int(high) + 1) if value == low or value % 5 == 0]
    return DrawnCurve(
        curve,
        tuple(_line(curve, number) for number in range(len(curve.series))),
        tuple(Tick(_x(value, curve), f"{value:g}") for value in steps),
        tuple(Tick(_y(step / 5), f"{step / 5:g}") for step in range(6)),
    )


def _line(curve: Curve, number: int) -> Line:
    series = curve.series[number]
    stretches = list(_stretches([(_x(x, curve), _y(y)) for x, y in series.points]))
    paths = tuple("M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in stretch) for stretch in stretches)
    dots = tuple(point for stretch in stretches for point in stretch)
    return Line(series.title, number, paths, dots if 2 < len(dots) <= MOST_DOTS or len(series.points) == 1 else ())


def _stretches(points: list[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """Runs of points without a nan in between."""
    stretch: list[tuple[float, float]] = []
    for point in points:
        if all(map(math.isfinite, point)):
            stretch.append(point)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _x(value: float, curve: Curve) -> float:
    low, high = curve.x_range
    return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)
