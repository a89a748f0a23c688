"""Class names as phrases: what a photo allows that has no phrases of its own.

Each class that is there is asked for by its name; all its objects together are the target. As many classes that are
not there are asked for, too: those should be refused, and their masks are the control of the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.asking import AskedPicture
from xsam_backend.evaluation.gallery import Gallery
from xsam_backend.evaluation.overlaps import Overlap
from xsam_backend.evaluation.refusals import ScoredOverlap
from xsam_backend.evaluation.results import Condition, TaskResult
from xsam_backend.evaluation.tasks.answers import Answers, overlap_of
from xsam_backend.evaluation.tasks.phrases import show_phrase
from xsam_backend.evaluation.tasks.run import Setting, chance
from xsam_backend.ground_truth import Expression
from xsam_backend.prompts import Prompt, Task

NAN = float("nan")
NAME = "class-phrases"
SWAPPED, ELSEWHERE = "swapped", "elsewhere"


class ClassPhrasesRun:
    """Only classes count of which every instance in the picture is labelled; crowds belong to what is meant.

    A class of which all that is there is smaller than ``least_px`` is neither asked for nor absent.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        options = setting.options
        self._phrase_of = {category.label: category.phrase for category in setting.dataset.categories}
        controls = {
            SWAPPED: "control: the name of an absent class",
            ELSEWHERE: "control: on another picture",
        }
        self._answers = Answers("class names", options, controls if options.controls else {})
        self._threshold = options.threshold
        self._gallery = Gallery(options.cases, options.seed)

    def ask(self, picture: AskedPicture) -> None:
        """The classes of one picture, and as many others."""
        truth = picture.truth
        askable = [name for name in self._phrase_of if name in truth.complete_for]
        areas = truth.masks.sum((1, 2))
        large = {
            name for name, area in zip(truth.names, areas, strict=True) if area >= self._setting.options.least_px
        }
        present = [name for name in askable if name in large]
        if not present:
            return
        threshold = picture.threshold(Task.REFERRING) if self._threshold is None else self._threshold
        absent = [name for name in askable if name not in truth.names]
        rng = chance(self._setting.options.seed, truth.source, NAME)
        chosen = [absent[int(i)] for i in rng.permutation(len(absent))[: len(present)]]

        asked: list[tuple[Expression, NDArray[np.bool_], ScoredOverlap]] = []
        controls: dict[str, list[Overlap]] = {SWAPPED: [], ELSEWHERE: []}
        for index, name in enumerate(present):
            segments = tuple(i for i, own in enumerate(truth.names) if own == name)
            target = truth.union(segments)
            expression = Expression(self._phrase_of[name], segments)
            mask, score = picture.best_mask(_prompt(expression.text))
            asked.append((expression, mask, ScoredOverlap(score, overlap_of(mask, target, truth.ignored))))
            if index < len(chosen):
                other = Expression(self._phrase_of[chosen[index]], ())
                mask, score = picture.best_mask(_prompt(other.text))
                nothing = overlap_of(mask, np.zeros_like(target), truth.ignored)
                asked.append((other, mask, ScoredOverlap(score, nothing)))
                controls[SWAPPED].append(overlap_of(mask, target, truth.ignored))
            foreign = picture.elsewhere(_prompt(expression.text)) if self._setting.options.controls else None
            if foreign is not None:
                controls[ELSEWHERE].append(overlap_of(foreign, target, truth.ignored))
        self._threshold = threshold
        self._answers.add([one for _, _, one in asked], threshold, controls)
        for expression, mask, one in asked:
            show_phrase(self._gallery, truth, expression, mask, one, threshold)

    def result(self) -> TaskResult:
        """Fit, refusals, and the controls."""
        threshold = NAN if self._threshold is None else self._threshold
        least = self._setting.options.least_px
        conditions: dict[str, Condition] = {
            "queries of the model": self._setting.queries,
            "score threshold": threshold,
            **({"classes asked for": f"with an object of at least {least} px"} if least else {}),
            "absent classes": "as many as are present, drawn at random (seeded per picture)",
        }
        return TaskResult(
            title="Class names as phrases",
            pictures=len(self._answers),
            conditions=conditions,
            tables=self._answers.tables(threshold),
            curves=self._answers.curves(),
            cases=self._gallery.cases(),
        )


def _prompt(phrase: str) -> Prompt:
    return Prompt(Task.REFERRING, phrase=phrase, score_threshold=0.0)
