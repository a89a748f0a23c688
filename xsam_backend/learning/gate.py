"""The gate: whether a candidate takes the deployed model's place. No promotion is the default.

The evidence are pictures that the candidate has not learned from, each answered by both models (``exam``). A
candidate is promoted if all of this holds, and kept and reported otherwise:

1. The evidence has at least MIN_PICTURES pictures.
2. On the project: the mean mark of all questions rises by LEAST_GAIN at least, and the 95 % interval of the rise lies
   above 0 (paired bootstrap over pictures: the same pictures are drawn for both). Of few pictures a bootstrap's
   interval is too narrow: it is widened as Student's t is beside the normal distribution. (Of 8 pictures by 29 %:
   candidates that differ by normal noise alone then pass once in 40 times, as they should, instead of once in 18.)
3. On the project: no single question loses more than PROJECT_MARGIN, unless the interval of its change reaches up to
   no loss at all (few pictures can't tell).
4. On the rehearsal: no question loses more than REHEARSAL_MARGIN for certain (the whole interval of its change lies
   below that loss), nor more than LARGEST_LOSS on average, against the deployed version; nor more than LARGEST_LOSS
   against the base model, so that many small losses don't add up. Without a rehearsal nothing is promoted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from xsam_backend.evaluation.bootstrap import CONFIDENCE, Estimate, bootstrap
from xsam_backend.learning.exam import Marks

MIN_PICTURES = 8
LEAST_GAIN = 0.005
PROJECT_MARGIN = 0.02
REHEARSAL_MARGIN = 0.01
LARGEST_LOSS = 0.03


@dataclass(frozen=True)
class Change:
    """One measure of both models, and the difference with its interval.

    Attributes:
        where: "project", "rehearsal", or "base": the rehearsal, with the base model in the deployed one's place.
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
    base: Marks | None = None,
    *,
    seed: int = 0,
) -> Verdict:
    """Apply the rule above.

    Args:
        project: (deployed, candidate) marks on the project's held-out pictures.
        rehearsal: the same on the rehearsal.
        base: the base model's marks on the rehearsal; None where it is what is deployed.
    """
    on_project = paired_changes("project", *project, seed)
    on_rehearsal = paired_changes("rehearsal", *rehearsal, seed)
    against_base = paired_changes("base", base, rehearsal[1], seed) if base is not None else []
    against: list[str] = []
    whole = on_project[0]
    if whole.pictures < MIN_PICTURES:
        against.append(
            f"{whole.pictures} held-out pictures are too few to tell, {MIN_PICTURES} are needed: accept more tasks"
        )
    elif not whole.change.low > 0:
        against.append(f"no gain that the held-out pictures support: {_said(whole)}, which may be chance or a loss")
    elif whole.change.value < LEAST_GAIN:
        against.append(f"a gain below {LEAST_GAIN} isn't worth a change: {_said(whole)}")
    for change in on_project[1:]:
        if change.change.value < -PROJECT_MARGIN and change.change.high < 0:
            against.append(f"on the project's own pictures {change.question} loses: {_said(change)}")
    if not on_rehearsal[0].pictures:
        against.append("nothing was rehearsed, so what the model could do before may be lost")
    for change in (*on_rehearsal[1:], *against_base[1:]):
        is_sure = change.where == "rehearsal" and change.change.high < -REHEARSAL_MARGIN
        if is_sure or change.change.value < -LARGEST_LOSS:
            of = " of the base model" if change.where == "base" else ""
            against.append(f"what the model could do before suffers, {change.question}{of}: {_said(change)}")
    reasons = tuple(against) or (f"better on held-out pictures: {_said(whole)}; nothing else is lost",)
    return Verdict(not against, reasons, (*on_project, *on_rehearsal, *against_base))


def paired_changes(where: str, deployed: Marks, candidate: Marks, seed: int = 0) -> list[Change]:
    """From one model's marks to the other's, on the same pictures: the mean over questions first, then each question
    that any picture asks."""
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
    found = bootstrap(lambda drawn: _mean(rises[drawn]), len(rises), seed=seed)
    wider = _widening(len(rises))
    return Estimate(
        found.value, found.value - wider * (found.value - found.low), found.value + wider * (found.high - found.value)
    )


def _widening(pictures: int) -> float:
    """How much wider the interval of a mean is for so few pictures, than the bootstrap has it.

    >>> [round(_widening(count), 2) for count in (8, 20, 1000)]
    [1.29, 1.1, 1.0]
    """
    if pictures < 2:
        return 1.0
    outside = (1 - CONFIDENCE) / 2
    return float(stdtrit(pictures - 1, 1 - outside) / ndtri(1 - outside) * np.sqrt(pictures / (pictures - 1)))


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _said(change: Change) -> str:
    estimate = change.change
    return (
        f"{change.deployed:.3f} -> {change.candidate:.3f} ({estimate.value:+.3f}, 95 % interval {estimate.low:+.3f} "
        f"to {estimate.high:+.3f}, {change.pictures} pictures)"
    )
