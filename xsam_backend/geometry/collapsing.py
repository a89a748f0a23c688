"""Rings with fewer vertices: edge by edge, two vertices become one where that changes the least area.

The new vertex keeps the area, so what is lost on one side is won on the other and an outline neither shrinks nor
grows; leaving vertices out (Douglas-Peucker) needs about twice as many for the same IoU. After Kronenfeld and others,
"Simplification of polylines by segment collapse" (International Journal of Cartography 6, 2020).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import numpy as np
import shapely
from numpy.typing import NDArray

LEAST_VERTICES = 4

_FLAT = 1e-9

Point = tuple[float, float]
Ring = NDArray[np.float64]
"""(N, 2) xy, the last point not repeated."""


def with_fewer_vertices(ring: Ring, limit: Point, fits: Callable[[Ring], bool]) -> Ring:
    """The ring with the fewest vertices found for which ``fits`` still holds; as it is where nothing simpler does.

    Args:
        ring: (N, 2) xy, N >= 3, from (0, 0) to ``limit``, where new vertices stay, too.
        fits: whether a simpler ring will do; the fewer vertices, the less likely.
    """
    collapses = list(_collapses(ring, limit))
    best, fitting, failing = ring, 0, len(collapses) + 1
    while failing - fitting > 1:
        middle = (fitting + failing) // 2
        simpler = _after(ring, collapses[:middle])
        if fits(simpler):
            best, fitting = simpler, middle
        else:
            failing = middle
    return best


def edges_cross(rings: Sequence[Ring]) -> bool:
    """Whether two edges of some rings, or of one, cross; touching is no crossing."""
    edges = np.concatenate([np.stack([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in rings])
    lines = shapely.linestrings(edges)
    return bool(shapely.STRtree(lines).query(lines, predicate="crosses").size)


_Collapse = tuple[int, int, Point]
"""The vertex that moves, the next one, which goes, and where the first moves to."""


def _after(ring: Ring, collapses: list[_Collapse]) -> Ring:
    points = ring.copy()
    kept = np.ones(len(ring), np.bool_)
    for moved, gone, place in collapses:
        points[moved] = place
        kept[gone] = False
    simpler: Ring = points[kept]
    return simpler


def _collapses(ring: Ring, limit: Point) -> Iterator[_Collapse]:
    """One edge after the other, the cheapest first, until few vertices are left."""
    points: list[Point] = [(float(x), float(y)) for x, y in ring]
    after = [*range(1, len(points)), 0]
    before = [len(points) - 1, *range(len(points) - 1)]
    age = [0] * len(points)
    ties = count()
    queue: list[tuple[float, int, int, int, Point]] = []

    def offer(first: int) -> None:
        age[first] += 1
        second = after[first]
        found = _collapsed(points[before[first]], points[first], points[second], points[after[second]])
        if found is not None:
            place = min(max(found[0], 0.0), limit[0]), min(max(found[1], 0.0), limit[1])
            cost = _displaced(points[before[first]], points[first], points[second], points[after[second]], place)
            heapq.heappush(queue, (cost, next(ties), first, age[first], place))

    for index in range(len(points)):
        offer(index)
    left = len(points)
    while queue and left > LEAST_VERTICES:
        _, _, first, offered, place = heapq.heappop(queue)
        if offered != age[first]:  # a neighbour has moved since, or it's gone
            continue
        second = after[first]
        yield first, second, place
        points[first] = place
        after[first], before[after[second]] = after[second], first
        age[second] = -1
        left -= 1
        for near in (before[before[first]], before[first], first, after[first]):
            offer(near)


def _collapsed(a: Point, b: Point, c: Point, d: Point) -> Point | None:
    """Where b and c of the path a, b, c, d meet so that the area beside it stays the same; None if nowhere.

    All such places are on a line parallel to a-d. Of those the one is taken that lies on the longer arm's line.
    """
    along = d[0] - a[0], d[1] - a[1]
    length2 = along[0] ** 2 + along[1] ** 2
    if length2 < _FLAT:
        return None
    height_b, height_c = _cross(along, (b[0] - a[0], b[1] - a[1])), _cross(along, (c[0] - a[0], c[1] - a[1]))
    # Twice the signed area of a, b, c, d, which is a's and d's distance times the height that is looked for.
    height = height_c + _cross((c[0] - a[0], c[1] - a[1]), (b[0] - a[0], b[1] - a[1]))
    same_side = height_b * height_c > 0
    on_first_arm = abs(height_b) > abs(height_c) if same_side else height_b * height > 0
    start, end = (a, b) if on_first_arm else (d, c)
    arm = end[0] - start[0], end[1] - start[1]
    rise = _cross(along, arm)
    if abs(rise) < _FLAT:
        return None
    share = height / rise  # both arms begin on a-d, at height 0
    return start[0] + share * arm[0], start[1] + share * arm[1]


def _displaced(a: Point, b: Point, c: Point, d: Point, e: Point) -> float:
    """Area that changes sides when a, b, c, d becomes a, e, d; at most twice as much where the paths cross."""
    return _triangle(a, b, e) + _triangle(b, c, e) + _triangle(c, d, e)


def _triangle(a: Point, b: Point, c: Point) -> float:
    return abs(_cross((b[0] - a[0], b[1] - a[1]), (c[0] - a[0], c[1] - a[1]))) / 2


def _cross(a: Point, b: Point) -> float:
    return a[0] * b[1] - a[1] * b[0]
