"""The gate: whether a candidate takes the deployed model's place. No promotion is the default.

The evidence are pictures that the candidate has not learned from, each answered by both models (``exam``). A
candidate is promoted if all of this holds, and kept and reported otherwise:

1. The evidence has at least MIN_PICTURES pictures.
2. On the project: the mean mark of all questions rises, and the 95 % interval of the rise lies above 0 (paired
   bootstrap over pictures: the same pictures are drawn for both).
3. On the project: no single question loses more than PROJECT_MARGIN, unless the interval of its change reaches up to
   no loss at all (few pictures can't tell).
4. On the rehearsal: no question loses more than REHEARSAL_MARGIN. Here there are pictures enough, so the mean counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.bootstrap import Estimate, bootstrap
from xsam_backend.learning.exam import Marks

MIN_PICTURES = 8
PROJECT_MARGIN = 0.02
REHEARSAL_MARGIN = 0.01


@dataclass(frozen=True)
class Change:
    """One measure of both models, and the difference with its interval.

    Attributes:
        where: "project" or "rehearsal".
        question: of the exam, or "all": the mean over questions.
        pictures: how many asked it.
    """

    where: str
    question: str
    pictures: int
    deployed: float
    candidate: float
    change: Estimate


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate is promoted, why (or why not), and all measures."""

    promoted: bool
    reasons: tuple[str, ...]
    changes: tuple[Change, ...]


def judge(
    project: tuple[Marks, Marks],
    rehearsal: tuple[Marks, Marks],
    *,
    seed: int = 0,
    min_pictures: int = MIN_PICTURES,
    project_margin: float = PROJECT_MARGIN,
    rehearsal_margin: float = REHEARSAL_MARGIN,
) -> Verdict:
    """Apply the rule above to (deployed, candidate) marks on the project's held-out pictures and on the rehearsal."""
    on_project = _changes("project", *project, seed)
    on_rehearsal = _changes("rehearsal", *rehearsal, seed)
    against: list[str] = []
    whole = on_project[0]
    if whole.pictures < min_pictures:
        against.append(
            f"{whole.pictures} held-out pictures are too few to tell, {min_pictures} are needed: accept more tasks"
        )
    elif not whole.change.low > 0:
        against.append(f"no gain that the held-out pictures support: {_said(whole)}, which may be chance or a loss")
    for change in on_project[1:]:
        if change.change.value < -project_margin and change.change.high < 0:
            against.append(f"on the project's own pictures {change.question} loses: {_said(change)}")
    for change in on_rehearsal[1:]:
        if change.change.value < -rehearsal_margin:
            against.append(f"what the model could do before suffers, {change.question}: {_said(change)}")
    reasons = tuple(against) or (f"better on held-out pictures: {_said(whole)}; nothing else is lost",)
    return Verdict(not against, reasons, (*on_project, *on_rehearsal))


def _changes(where: str, deployed: Marks, candidate: Marks, seed: int) -> list[Change]:
    """The mean over questions first, then each question that any picture asks."""
    rows = [("all", deployed.of_pictures, candidate.of_pictures)]
    rows += [(name, deployed.by_question[name], candidate.by_question[name]) for name in deployed.by_question]
    changes = []
    for question, before, after in rows:
        both = np.isfinite(before) & np.isfinite(after)
        if question != "all" and not both.any():
            continue
        first, second = before[both], after[both]
        rise = _mean_rise(second - first, seed)
        changes.append(Change(where, question, len(first), _mean(first), _mean(second), rise))
    return changes


def _mean_rise(rises: NDArray[np.float64], seed: int) -> Estimate:
    return bootstrap(lambda drawn: _mean(rises[drawn]), len(rises), seed=seed)


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _said(change: Change) -> str:
    estimate = change.change
    return (
        f"{change.deployed:.3f} -> {change.candidate:.3f} ({estimate.value:+.3f}, 95 % interval {estimate.low:+.3f} "
        f"to {estimate.high:+.3f}, {change.pictures} pictures)"
    )
