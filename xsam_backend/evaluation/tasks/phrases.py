"""Referring and reasoning: phrases and questions of the data set, those about absent things included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.asking import AskedPicture
from xsam_backend.evaluation.case_pictures import drawn_case
from xsam_backend.evaluation.gallery import Gallery
from xsam_backend.evaluation.overlaps import Overlap
from xsam_backend.evaluation.refusals import ScoredOverlap
from xsam_backend.evaluation.results import Condition, TaskResult
from xsam_backend.evaluation.tasks.answers import Answers, overlap_of
from xsam_backend.evaluation.tasks.run import Setting, chance
from xsam_backend.ground_truth import Expression, GroundTruth
from xsam_backend.instances import Instances
from xsam_backend.prompts import Prompt, Task

NAN = float("nan")
OTHER, SWAPPED = "other", "swapped"
TITLES = {Task.REFERRING: "Referring segmentation", Task.REASONING: "Reasoning segmentation"}
ITEMS = {Task.REFERRING: "phrases", Task.REASONING: "questions"}


class PhrasesRun:
    """Each phrase is asked about alone, and held against what two others give.

    One is of the same picture and about something else; it is asked anyhow, and there is none where all are about the
    same. The other is of an earlier picture; it may fit here by chance.
    """

    def __init__(self, setting: Setting, task: Task) -> None:
        self._setting, self._task = setting, task
        options = setting.options
        controls = {
            OTHER: f"control: other {ITEMS[task]} of the picture",
            SWAPPED: f"control: {ITEMS[task]} of another picture",
        }
        controls = controls if options.controls else {}
        self._answers = Answers(ITEMS[task], options, controls)
        self._threshold = options.threshold
        self._gallery = Gallery(options.cases, options.seed)
        self._earlier: tuple[str, ...] = ()

    def ask(self, picture: AskedPicture) -> None:
        """All phrases of one picture."""
        truth = picture.truth
        asked = truth.referring if self._task is Task.REFERRING else truth.questions
        if not asked:
            return
        threshold = picture.threshold(self._task) if self._threshold is None else self._threshold
        rng = chance(self._setting.options.seed, truth.source, SWAPPED)
        foreign = [text for text in self._earlier if text not in {one.text for one in asked}]
        scored: list[ScoredOverlap] = []
        swapped: list[Overlap] = []
        masks: list[NDArray[np.bool_]] = []
        for expression in asked:
            target = truth.union(expression.segments)
            mask, score = picture.best_mask(_prompt(self._task, expression.text))
            masks.append(mask)
            scored.append(ScoredOverlap(score, overlap_of(mask, target, truth.ignored)))
            if self._setting.options.controls and foreign and expression.segments:
                other, _ = picture.best_mask(_prompt(self._task, foreign[int(rng.integers(len(foreign)))]))
                swapped.append(overlap_of(other, target, truth.ignored))
        self._threshold = threshold
        self._earlier = tuple(one.text for one in asked if one.segments) or self._earlier
        self._answers.add(scored, threshold, {OTHER: self._others(truth, asked, masks), SWAPPED: swapped})
        for expression, mask, one in zip(asked, masks, scored, strict=True):
            show_phrase(self._gallery, truth, expression, mask, one, threshold)

    def _others(
        self, truth: GroundTruth, asked: Sequence[Expression], masks: Sequence[NDArray[np.bool_]]
    ) -> list[Overlap]:
        """What is meant by each phrase, against the mask of one about none of it."""
        rng = chance(self._setting.options.seed, truth.source, OTHER)
        overlaps = []
        for expression in asked:
            elsewhere = [
                mask
                for other, mask in zip(asked, masks, strict=True)
                if other.segments and not set(other.segments) & set(expression.segments)
            ]
            if expression.segments and elsewhere:
                target = truth.union(expression.segments)
                overlaps.append(overlap_of(elsewhere[int(rng.integers(len(elsewhere)))], target, truth.ignored))
        return overlaps

    def result(self) -> TaskResult:
        """Fit, refusals, and the controls."""
        threshold = NAN if self._threshold is None else self._threshold
        conditions: dict[str, Condition] = {
            "queries of the model": self._setting.queries,
            "score threshold": threshold,
            "controls": "for each phrase another of the picture, about something else, and one of the picture before "
            "(which may fit by chance); drawn at random (seeded per picture)",
        }
        if not self._setting.options.controls:
            del conditions["controls"]
        return TaskResult(
            title=TITLES[self._task],
            pictures=len(self._answers),
            conditions=conditions,
            tables=self._answers.tables(threshold),
            curves=self._answers.curves(),
            cases=self._gallery.cases(),
        )


def show_phrase(
    gallery: Gallery,
    truth: GroundTruth,
    expression: Expression,
    mask: NDArray[np.bool_],
    answer: ScoredOverlap,
    threshold: float,
) -> None:
    """Offers one answered phrase to the gallery, by the IoU that it has at the threshold.

    A right refusal is no case: there is nothing to see, and every one of them is a best one.
    """
    shown = mask if answer.score >= threshold else np.zeros_like(mask)
    target = truth.union(expression.segments)
    if not (target.any() or shown.any()):
        return
    gallery.offer(
        answer.at(threshold).iou,
        lambda: drawn_case(
            truth.image,
            _one(target, 1.0),
            _one(shown, answer.score),
            title=f"{truth.source}: {expression.text}",
            measure="IoU",
            score=answer.at(threshold).iou,
            is_outlined=True,
        ),
    )


def _one(mask: NDArray[np.bool_], score: float) -> Instances:
    found = Instances.of(mask[None], np.array([score], np.float32), (None,))
    return found if mask.any() else found.select([])


def _prompt(task: Task, text: str) -> Prompt:
    """Whatever the score: the threshold is applied when it is counted."""
    return Prompt(task, phrase=text, score_threshold=0.0)
