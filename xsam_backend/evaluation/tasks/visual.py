"""Visual grounding (VGD): one object of each class is pointed at, all objects like it are to be found.

The exemplars are among those. So the results are held against what one would get for them alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from xsam_backend.evaluation.asking import AskedPicture
from xsam_backend.evaluation.average_precision import AveragePrecision
from xsam_backend.evaluation.bootstrap import bootstraps
from xsam_backend.evaluation.calibration import right_detections
from xsam_backend.evaluation.case_pictures import drawn_case
from xsam_backend.evaluation.datasets.records import PromptKind
from xsam_backend.evaluation.exemplars import RULES, exemplars
from xsam_backend.evaluation.gallery import Gallery
from xsam_backend.evaluation.results import Column, Row, Table, TaskResult
from xsam_backend.evaluation.tasks.pointing import Pointing
from xsam_backend.evaluation.tasks.run import Setting
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.instances import Instances
from xsam_backend.prompts import Category, Prompt, Region, Task

ALONE = "exemplars alone"
COLUMNS = (Column("ap", "AP"), Column("ap50", "AP50"), Column("ap75", "AP75"))


class VisualRun:
    """Only classes count of which every instance in the picture is labelled."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._pointing = Pointing(setting)
        options = setting.options
        self._precision: dict[PromptKind, AveragePrecision] = {
            kind: AveragePrecision(options.max_detections) for kind in self._pointing.kinds
        }
        self._exemplars_alone = AveragePrecision(options.max_detections)
        self._gallery = Gallery(options.cases, options.seed)
        self._objects = 0
        self._exemplars = 0
        self._pictures = 0

    def ask(self, picture: AskedPicture) -> None:
        """One question for each way to point, with all classes of the picture."""
        truth = picture.truth
        options = self._setting.options
        shown = [i for i in exemplars(truth, options.seed, options.exemplar) if truth.names[i] in truth.complete_for]
        if not shown:
            return
        names = [truth.names[i] for i in shown]
        alike = [i for i, name in enumerate(truth.names) if name in names and truth.is_thing[i]]
        given = options.threshold
        threshold = picture.threshold(Task.VGD) if given is None else given
        asked: list[tuple[PromptKind, Instances]] = []
        for kind in self._pointing.kinds:
            regions = tuple(self._pointing.at(picture, kind, segment) for segment in shown)
            prompt = Prompt(Task.VGD, regions, tuple(Category(name, name) for name in names))
            candidates = picture.candidates(prompt)
            asked.append((kind, candidates.instances()))
            if options.cases and kind == self._pointing.kinds[-1]:
                self._show(truth, kind, regions, alike, candidates.answered(threshold))
        there = truth.masks[alike], [truth.names[i] for i in alike], truth.is_crowd[alike]
        for kind, found in asked:
            self._precision[kind].add(found, *there)
        self._exemplars_alone.add(
            Instances.of(truth.masks[shown], np.ones(len(shown), np.float32), tuple(names)), *there
        )
        self._pictures += 1
        self._objects += int(np.count_nonzero(~truth.is_crowd[alike]))
        self._exemplars += len(shown)

    def result(self) -> TaskResult:
        """AP, AP50 and AP75 for each way to point."""
        options = self._setting.options
        rows = [self._row(kind, kind, measure) for kind, measure in self._precision.items()]
        guess = self._row(ALONE, "guess: the exemplars, exactly, and nothing else", self._exemplars_alone)
        rows.append(dataclasses.replace(guess, is_control=True))
        return TaskResult(
            title="Visual grounding (VGD)",
            pictures=self._pictures,
            conditions={
                "exemplars": f"{RULES[options.exemplar]}: {self._exemplars}",
                "prompts": self._pointing.words,
                "queries of the model": self._setting.queries,
                "maxDets": options.max_detections,
            },
            tables=(Table("visual", "All objects like the exemplars", "instances", COLUMNS, tuple(rows)),),
            cases=self._gallery.cases(),
        )

    def _row(self, key: str, title: str, measure: AveragePrecision) -> Row:
        seed, rounds = self._setting.options.seed, self._setting.options.rounds
        estimates = bootstraps(measure.summary, len(measure), len(COLUMNS), seed=seed, rounds=rounds)
        values = {column.key: estimate for column, estimate in zip(COLUMNS, estimates, strict=True)}
        return Row(key, title, self._objects, values)

    def _show(
        self, truth: GroundTruth, kind: PromptKind, regions: Sequence[Region], alike: Sequence[int], seen: Instances
    ) -> None:
        """As annotators would see it."""
        names = tuple(truth.names[i] for i in alike)
        true = Instances.of(truth.masks[list(alike)], np.ones(len(alike), np.float32), names)
        crowd = truth.is_crowd[list(alike)]
        _, right = right_detections(seen, true.masks, true.labels, crowd)
        score = 2 * int(right.sum()) / max(len(right) + int(np.count_nonzero(~crowd)), 1)
        self._gallery.offer(
            score,
            lambda: drawn_case(
                truth.image,
                true,
                seen,
                title=f"{truth.source}: all like the exemplars ({kind})",
                measure="F-score of instances",
                score=score,
                regions=regions,
            ),
        )
