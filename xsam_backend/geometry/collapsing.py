"""Rings with fewer vertices: edge by edge, two vertices become one where that changes the least area.

The new vertex keeps the area, so what is lost on one side is won on the other and an outline neither shrinks nor
grows; leaving vertices out (Douglas-Peucker) needs about twice as many for the same IoU. After Kronenfeld and others,
"Simplification of polylines by segment collapse" (International Journal of Cartography 6, 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

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
    collapses = _collapses(ring, limit)
    best, fitting, failing = ring, 0, len(collapses.gone) + 1
    while failing - fitting > 1:
        middle = (fitting + failing) // 2
        simpler = _after(ring, collapses, middle)
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


class _Collapses(NamedTuple):
    """One after the other: the vertex that moves, the next one, which goes, and where the first moves to, xy."""

    moved: NDArray[np.int64]
    gone: NDArray[np.int64]
    places: Ring


def _after(ring: Ring, collapses: _Collapses, count: int) -> Ring:
    points = ring.copy()
    points[collapses.moved[:count]] = collapses.places[:count]  # of a vertex that moves twice the last place counts
    simpler: Ring = np.delete(points, collapses.gone[:count], axis=0)
    return simpler


def _collapses(ring: Ring, limit: Point) -> _Collapses:
    """One edge after the other, the cheapest first, until few vertices are left."""
    xs, ys = ring.T.tolist()
    after = [*range(1, len(xs)), 0]
    before = [len(xs) - 1, *range(len(xs) - 1)]
    latest = [-1] * len(xs)  # number of the last offer for the edge that begins here
    offers: list[tuple[int, float, float]] = []
    queue: list[tuple[float, int]] = []
    right, bottom = limit

    def offer(first: int) -> None:
        """What it costs when an edge b-c of a path a, b, c, d becomes one vertex e, with the same area beside it.

        All such places e are on a line parallel to a-d. Of those the one is taken that lies on the longer arm's line;
        there may be none. The cost is the area that changes sides; at most twice as much where the paths cross.
        Written out number by number: most of the time that polygons take goes by here.
        """
        latest[first] = -1
        start = before[first]
        second = after[first]
        end = after[second]
        ax = xs[start]
        ay = ys[start]
        # As seen from a:
        bx = xs[first] - ax
        by = ys[first] - ay
        cx = xs[second] - ax
        cy = ys[second] - ay
        dx = xs[end] - ax
        dy = ys[end] - ay
        if dx * dx + dy * dy < _FLAT:
            return
        height_b = dx * by - dy * bx
        height_c = dx * cy - dy * cx
        # Twice the signed area of a, b, c, d, which is a's and d's distance times the height that is looked for.
        height = height_c + cx * by - cy * bx
        # Both arms begin on a-d, at height 0.
        if abs(height_b) > abs(height_c) if height_b * height_c > 0 else height_b * height > 0:
            if -_FLAT < height_b < _FLAT:
                return
            share = height / height_b
            ex = share * bx
            ey = share * by
        else:
            if -_FLAT < height_c < _FLAT:
                return
            share = height / height_c
            ex = dx + share * (cx - dx)
            ey = dy + share * (cy - dy)
        x = ex + ax
        y = ey + ay
        if not (0.0 <= x <= right and 0.0 <= y <= bottom):
            x = min(max(x, 0.0), right)
            y = min(max(y, 0.0), bottom)
            ex = x - ax
            ey = y - ay
        cost = (
            abs(bx * ey - by * ex)
            + abs((cx - bx) * (ey - by) - (cy - by) * (ex - bx))
            + abs((dx - cx) * (ey - cy) - (dy - cy) * (ex - cx))
        )
        latest[first] = len(offers)
        heappush(queue, (cost, len(offers)))
        offers.append((first, x, y))

    for index in range(len(xs)):
        offer(index)
    moved, gone, places = [], [], []
    left = len(xs)
    while queue and left > LEAST_VERTICES:
        _, number = heappop(queue)
        first, x, y = offers[number]
        if number != latest[first]:  # a neighbour has moved since, or it's gone
            continue
        second = after[first]
        moved.append(first)
        gone.append(second)
        places.append((x, y))
        xs[first], ys[first] = x, y
        after[first], before[after[second]] = after[second], first
        latest[second] = -1
        left -= 1
        for near in (before[before[first]], before[first], first, after[first]):
            offer(near)
    return _Collapses(np.array(moved, np.int64), np.array(gone, np.int64), np.array(places).reshape(-1, 2))
