"""One ring for an outline with holes: along the outer ring, over a bridge to a hole, around it and back again.

Label Studio's polygons have no holes of their own; a keyhole is drawn as a real one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from xsam_backend.geometry.collapsing import Ring, edges_cross

MOST_HOLES = 200
"""An outline with more of them is ragged, and nobody edits it by hand: whether bridges cross isn't looked at."""


def joined_by_keyholes(outer: Ring, holes: Sequence[Ring]) -> Ring:
    """One ring, whose edges don't cross: over the shortest bridges where these don't, else over level ones.

    Args:
        outer: (N, 2) xy.
        holes: the same, the other way round, inside of it and apart from each other.
    """
    if not holes:
        return outer
    nearest = _by_short_bridges(outer, holes)
    if len(holes) > MOST_HOLES:
        return nearest
    return _by_level_bridges(outer, holes) if edges_cross([nearest]) else nearest


def _by_short_bridges(outer: Ring, holes: Sequence[Ring]) -> Ring:
    """From vertex to vertex, where the outer ring is nearest to each hole. For thousands of holes all at once."""
    points = np.concatenate(holes)
    sizes = np.array([len(hole) for hole in holes])
    first = np.cumsum(sizes) - sizes
    distances, nearest = cKDTree(outer).query(points)
    closest = np.flatnonzero(distances == np.repeat(np.minimum.reduceat(distances, first), sizes))
    _, one_each = np.unique(np.repeat(np.arange(len(holes)), sizes)[closest], return_index=True)
    enter = closest[one_each]
    order = np.argsort(nearest[enter], kind="stable")
    enter, sizes, first = enter[order], sizes[order], first[order]
    leave = nearest[enter]
    # Around each hole, to where it was entered once more, and back over the bridge.
    detours = sizes + 2
    step = np.arange(int(detours.sum())) - np.repeat(np.cumsum(detours) - detours, detours)
    around = np.repeat(first, detours) + (np.repeat(enter - first, detours) + step) % np.repeat(sizes, detours)
    path = points[around]
    path[np.cumsum(detours) - 1] = outer[leave]
    return np.insert(outer, np.repeat(leave + 1, detours), path, axis=0)


class _Bridge(NamedTuple):
    """From the place on another ring, so far along that edge, to a hole's first vertex."""

    along: float
    place: NDArray[np.float64]
    hole: int


def _by_level_bridges(outer: Ring, holes: Sequence[Ring]) -> Ring:
    """From each hole's leftmost vertex level to the left, up to whatever comes first: the outer ring or another hole.

    Nothing lies between, so nothing is crossed; and whatever comes first begins further to the left, so that all is
    connected in the end. The bridge ends in a new vertex.
    """
    rings = [outer, *(np.roll(hole, -_leftmost(hole), axis=0) for hole in holes)]
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    first_of = np.cumsum([0, *(len(ring) for ring in rings)])
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    bridges: dict[int, list[_Bridge]] = defaultdict(list)
    for number, ring in enumerate(rings[1:], 1):
        edge, along = _first_to_the_left(ring[0], start, end, owner != number)
        place = start[edge] + along * (end[edge] - start[edge])
        bridges[edge].append(_Bridge(along, place, number))
    whole = dict(enumerate(rings))
    for number in sorted(range(len(rings)), key=lambda ring: -float(rings[ring][0, 0]) if ring else np.inf):
        # Those that begin further right are done: they may hang on this one.
        pieces: list[Ring] = []
        for index, vertex in enumerate(rings[number]):
            pieces.append(vertex[None])
            for bridge in sorted(bridges[int(first_of[number]) + index], key=lambda one: one.along):
                around = whole[bridge.hole]
                pieces += [bridge.place[None], around, around[:1], bridge.place[None]]
        whole[number] = np.concatenate(pieces)
    return whole[0]


def _leftmost(ring: Ring) -> int:
    return int(np.lexsort((ring[:, 1], ring[:, 0]))[0])


def _first_to_the_left(
    point: NDArray[np.float64], start: Ring, end: Ring, wanted: NDArray[np.bool_]
) -> tuple[int, float]:
    """Of the wanted edges the one that is hit first, and how far along it, 0..1."""
    rise = end[:, 1] - start[:, 1]
    reached = np.minimum(start[:, 1], end[:, 1]) <= point[1]
    reached &= point[1] <= np.maximum(start[:, 1], end[:, 1])
    edges = np.flatnonzero(reached & wanted)
    level = rise[edges] == 0  # it lies on the way: its nearer end is hit
    along = (point[1] - start[edges, 1]) / np.where(level, 1.0, rise[edges])
    along[level] = end[edges[level], 0] > start[edges[level], 0]
    across = start[edges, 0] + along * (end[edges, 0] - start[edges, 0])
    behind = across <= point[0]
    nearest = int(np.flatnonzero(behind)[across[behind].argmax()])
    return int(edges[nearest]), float(along[nearest])
