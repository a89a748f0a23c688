"""The cases that a report shows: the best, the worst and random ones, however many pictures pass by."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from xsam_backend.evaluation.results import Case, CaseKind

Drawing = Callable[[], Case]
"""Draws a case; called only for those that are kept."""


@dataclass(frozen=True)
class _Kept:
    number: int
    case: Case


class Gallery:
    """Keeps ``each`` of the best, the worst and random cases among all that are offered. 0 keeps and draws none."""

    def __init__(self, each: int = 3, seed: int = 0) -> None:
        self._each = each
        self._rng = np.random.default_rng([seed, 1])
        self._offered = 0
        # Heaps whose first entry is the one to go; the earlier of two equal ones stays.
        self._best: list[tuple[float, int, Case]] = []
        self._worst: list[tuple[float, int, Case]] = []
        self._random: list[_Kept] = []

    def offer(self, score: float, draw: Drawing) -> None:
        """One case, scored from 0 to 1. A score that is nan is no case."""
        if not self._each or np.isnan(score):
            return
        number = self._offered
        self._offered += 1
        place = number if number < self._each else int(self._rng.integers(number + 1))
        is_best = len(self._best) < self._each or score > self._best[0][0]
        is_worst = len(self._worst) < self._each or score < -self._worst[0][0]
        if not (is_best or is_worst or place < self._each):
            return
        case = draw()
        if is_best:
            _push(self._best, (score, -number, case), self._each)
        if is_worst:
            _push(self._worst, (-score, -number, case), self._each)
        if place < len(self._random):
            self._random[place] = _Kept(number, case)
        elif place < self._each:
            self._random.append(_Kept(number, case))

    def cases(self) -> tuple[Case, ...]:
        """The best, best first; the worst, worst first, without the best; then random ones, without either."""
        shown: set[int] = set()
        cases: list[Case] = []

        def take(kind: CaseKind, kept: list[tuple[int, Case]]) -> None:
            for number, case in kept:
                if number not in shown:
                    shown.add(number)
                    cases.append(replace(case, kind=kind))

        take("best", [(-number, case) for _, number, case in sorted(self._best, reverse=True, key=_by_score)])
        take("worst", [(-number, case) for _, number, case in sorted(self._worst, reverse=True, key=_by_score)])
        take("random", [(one.number, one.case) for one in sorted(self._random, key=lambda one: one.number)])
        return tuple(cases)


def _by_score(entry: tuple[float, int, Case]) -> tuple[float, int]:
    return entry[:2]


def _push(heap: list[tuple[float, int, Case]], entry: tuple[float, int, Case], most: int) -> None:
    """Numbers differ, so that cases are never compared."""
    if len(heap) < most:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)
