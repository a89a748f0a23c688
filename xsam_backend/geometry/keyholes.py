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
"""An outline with more of them is ragged, and nobody edits it by hand: bridges go from hole to hole and may cross."""


def joined_by_keyholes(outer: Ring, holes: Sequence[Ring]) -> Ring:
    """One ring, whose edges don't cross: over the shortest bridges where these don't, else over level ones.

    Args:
        outer: (N, 2) xy.
        holes: the same, the other way round, inside of it and apart from each other.
    """
    if not holes:
        return outer
    joined = _joined(outer, holes)
    # A hole that touches another ring has a bridge without length, which ends where it began.
    moves: NDArray[np.bool_] = (joined != np.roll(joined, 1, axis=0)).any(axis=1)
    return joined[moves]


def _joined(outer: Ring, holes: Sequence[Ring]) -> Ring:
    if len(holes) > MOST_HOLES:
        return _by_one_chain(outer, holes)
    nearest = _by_short_bridges(outer, holes)
    return _by_level_bridges(outer, holes) if edges_cross([nearest]) else nearest


def _by_short_bridges(outer: Ring, holes: Sequence[Ring]) -> Ring:
    """From vertex to vertex, where the outer ring is nearest to each hole."""
    tree = cKDTree(outer)
    detours: dict[int, list[Ring]] = defaultdict(list)
    for hole in holes:
        distances, nearest = tree.query(hole)
        enter = int(distances.argmin())
        leave = int(nearest[enter])
        detours[leave] += [np.roll(hole, -enter, axis=0), hole[enter : enter + 1], outer[leave : leave + 1]]
    pieces: list[Ring] = []
    done = 0
    for leave in sorted(detours):
        pieces += [outer[done : leave + 1], *detours[leave]]
        done = leave + 1
    return np.concatenate([*pieces, outer[done:]])


def _by_one_chain(outer: Ring, holes: Sequence[Ring]) -> Ring:
    """From the outer ring's first vertex to the topmost hole, from that to the next one and so on, and all the way
    back; between the first vertices of each."""
    sizes = np.array([len(hole) for hole in holes])
    points = np.concatenate(holes)
    enter = points[np.cumsum(sizes) - sizes]
    order = np.lexsort((enter[:, 0], enter[:, 1]))
    around = np.concatenate(
        [part for number in order.tolist() for part in (holes[number], enter[number : number + 1])]
    )
    return np.concatenate([outer[:1], around, enter[order[-2::-1]], outer])


class _Bridge(NamedTuple):
    """From the place on another ring, so far along that edge, to a hole's first vertex."""

    along: float
    place: NDArray[np.float64]
    hole: int


def _by_level_bridges(outer: Ring, holes: Sequence[Ring]) -> Ring:
    """From each hole's leftmost vertex level to the left, up to whatever comes first: the outer ring or another hole.

    Nothing lies between, so nothing is crossed; and whatever comes first begins further to the left, so that all is
    connected in the end. Of holes that begin in one point the first counts as further left: else they would hang on
    each other, and on nothing else. The bridge ends in a new vertex.
    """
    rings = [outer, *(np.roll(hole, -_leftmost(hole), axis=0) for hole in holes)]
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    first_of = np.cumsum([0, *(len(ring) for ring in rings)])
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    from_left = np.argsort([-np.inf, *(ring[0, 0] for ring in rings[1:])], kind="stable")
    rank = np.argsort(from_left)
    bridges: dict[int, list[_Bridge]] = defaultdict(list)
    for number, ring in enumerate(rings[1:], 1):
        edge, along = _first_to_the_left(ring[0], start, end, rank[owner] < rank[number])
        place = start[edge] + along * (end[edge] - start[edge])
        bridges[edge].append(_Bridge(along, place, number))
    whole = dict(enumerate(rings))
    for number in from_left[::-1].tolist():
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
