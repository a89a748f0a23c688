from __future__ import annotations

import pytest

from xsam_backend.evaluation.report.drawn_curves import BOTTOM, HEIGHT, LEFT, MOST_DOTS, RIGHT, TOP, WIDTH, drawn
from xsam_backend.evaluation.results import Curve, Series

NAN = float("nan")


def curve(*points: tuple[float, float], x_range: tuple[float, float] = (0.0, 1.0)) -> Curve:
    return Curve("a", "A", "x", "y", x_range, (Series("line", points),))


def test_the_corners_are_where_the_axes_end() -> None:
    plan = drawn(curve((0.0, 0.0), (1.0, 1.0)))
    (line,) = plan.lines
    assert line.paths == (f"M{LEFT}.0 {HEIGHT - BOTTOM}.0 L{WIDTH - RIGHT}.0 {TOP}.0",), "y grows upwards"
    assert line.dots == (), "a straight line needs none"
    (line,) = drawn(curve((0.0, 0.0), (0.0, 1.0), (1.0, 1.0))).lines
    assert line.dots == ((LEFT, HEIGHT - BOTTOM), (LEFT, TOP), (WIDTH - RIGHT, TOP))
    assert len(drawn(curve((0.5, 0.5))).lines[0].dots) == 1, "a single point is seen by its dot"
    assert [tick.text for tick in plan.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [tick.text for tick in plan.x_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_clicks_have_whole_ticks() -> None:
    plan = drawn(curve((1.0, 0.5), (20.0, 0.9), x_range=(1.0, 20.0)))
    assert [tick.text for tick in plan.x_ticks] == ["1", "5", "10", "15", "20"]
    assert plan.x_ticks[0].at == LEFT
    assert plan.x_ticks[-1].at == WIDTH - RIGHT


@pytest.mark.parametrize(
    ("points", "stretches"),
    [
        (((0.0, 0.0), (0.5, NAN), (1.0, 1.0)), 2),
        (((0.0, NAN), (0.5, 0.5), (1.0, 1.0)), 1),
        (((0.0, NAN),), 0),
        ((), 0),
    ],
    ids=["a gap inside", "a gap at the start", "nothing but gaps", "no points"],
)
def test_lines_break_where_there_is_no_value(points: tuple[tuple[float, float], ...], stretches: int) -> None:
    (line,) = drawn(curve(*points)).lines
    assert len(line.paths) == stretches
    assert not any("nan" in path for path in line.paths)


def test_many_points_are_a_line_without_dots() -> None:
    points = [(index / 100, 0.5) for index in range(100)]
    assert drawn(curve(*points[:MOST_DOTS])).lines[0].dots != ()
    assert drawn(curve(*points)).lines[0].dots == ()
