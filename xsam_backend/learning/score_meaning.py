"""What a version's scores mean: calibrated on what was found in pictures that it has not learned from.

Only what searches for all of a kind is calibrated, by label and like examples, each for itself: there, a score
decides what annotators see. A click's answer has a score of another kind, and no use for a meaning: the annotator
looks at it at once, Label Studio neither stores nor sorts it, and the exam's clicks at the middle of an object tell
little of those that correct one.

Where labels are few, the held-out pictures were answered by candidates that learned from the others (``folds``): they
stand for the version, which has learned from all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from xsam_backend.evaluation.calibration import expected_calibration_error, reliability_curve
from xsam_backend.labelstudio.results import prediction_score
from xsam_backend.learning.exam import SEARCHES, Marks
from xsam_backend.model.score_calibration import AS_IT_IS, Calibration, fit_calibration
from xsam_backend.prompts import Task

PARTS = 5
"""Of the pictures: how well a part is calibrated is told by a calibration that was fitted on the others. Parts run
across the folds: to fit on one fold and tell of another would ask what nobody does, since the version's is fitted on
all."""

LEAST_SORTED = 20
"""Of fewer pictures chance may bring about any order."""


@dataclass(frozen=True)
class ScoreMeaning:
    """One search's calibration in a version, and how good it is.

    Attributes:
        found, right: how much was found in held-out pictures, and how much of that was right.
        error_before, error_after: expected calibration error of the scores as the decoder gives them, and calibrated,
            on pictures that the calibration was not fitted on; nan where nothing was found.
        sorting: Spearman's rank correlation of the pictures' prediction scores with the exam's marks: 1 where
            sorting by score shows the worst first, 0 where it tells nothing; nan for too few pictures.
    """

    calibration: Calibration
    found: int
    right: int
    error_before: float
    error_after: float
    sorting: float


def score_meanings(exams: Sequence[Marks], before: Mapping[Task, Calibration]) -> dict[Task, ScoreMeaning]:
    """Of both searches, where something was found, or known before.

    Args:
        exams: each of pictures of its own.
        before: the calibrations of what the version goes on from; they hold as far as nothing speaks against them.
    """
    meanings = {
        task: _meaning(exams, question, before.get(task))
        for question, task in zip(SEARCHES, (Task.GENERIC, Task.VGD), strict=True)
    }
    return {task: meaning for task, meaning in meanings.items() if meaning is not None}


def _meaning(exams: Sequence[Marks], question: str, before: Calibration | None) -> ScoreMeaning | None:
    near = before or AS_IT_IS
    scores = np.concatenate([np.empty(0), *(exam.found[question].scores for exam in exams)])
    right = np.concatenate([np.empty(0, np.bool_), *(exam.found[question].right for exam in exams)])
    if not len(scores) and before is None:
        return None
    calibration = fit_calibration(scores, right, near)
    parts = _pictures(exams, question) % PARTS
    meant = np.zeros(len(scores), np.float32)
    for part in np.unique(parts):
        mine = parts == part
        meant[mine] = fit_calibration(scores[~mine], right[~mine], near)(scores[mine].astype(np.float32))
    return ScoreMeaning(
        calibration,
        found=len(scores),
        right=int(right.sum()),
        error_before=expected_calibration_error(reliability_curve(scores, right)),
        error_after=expected_calibration_error(reliability_curve(meant, right)),
        sorting=_sorting(exams, question, calibration(scores.astype(np.float32))),
    )


def _pictures(exams: Sequence[Marks], question: str) -> NDArray[np.int64]:
    """Which picture each thing was found in, counted through all exams."""
    counts = [len(exam.by_question[question]) for exam in exams]
    firsts = np.cumsum([0, *counts])
    shifted = [exam.found[question].pictures + first for exam, first in zip(exams, firsts[:-1], strict=True)]
    return np.concatenate([np.empty(0, np.int64), *shifted])


def _sorting(exams: Sequence[Marks], question: str, meant: NDArray[np.float32]) -> float:
    marks = np.concatenate([np.empty(0), *(exam.by_question[question] for exam in exams)])
    pictures = _pictures(exams, question)
    asked = np.flatnonzero(np.isfinite(marks))
    said = [prediction_score(meant[pictures == picture].tolist()) for picture in asked]
    if len(asked) < LEAST_SORTED or len(set(said)) == 1 or len(set(marks[asked])) == 1:
        return float("nan")
    return float(spearmanr(said, marks[asked]).statistic)
