"""Generic and open vocabulary: all classes are asked for at once, as the data set names them.

What is counted follows from what the truth says. Where every pixel has an owner: panoptic quality and IoU per class.
Where objects are told apart: their average precision, which labels are taken for which, whether scores mean what they
say. Only classes count of which every instance in the picture is labelled: a right find would be a wrong one else.
Average precision, panoptic quality and IoU count the decoder's proposals as the reference does; what annotators
would see at the score threshold is counted beside them.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.asking import AskedPicture
from xsam_backend.evaluation.average_precision import AveragePrecision
from xsam_backend.evaluation.bootstrap import Estimate, bootstrap, bootstraps
from xsam_backend.evaluation.calibration import expected_calibration_error, reliability_curve, right_detections
from xsam_backend.evaluation.case_pictures import drawn_case
from xsam_backend.evaluation.confusion import NOTHING, Confusion
from xsam_backend.evaluation.gallery import Gallery
from xsam_backend.evaluation.panoptic import PanopticQuality
from xsam_backend.evaluation.ratios import Ratios, Sums
from xsam_backend.evaluation.results import Column, Condition, Curve, Row, Series, Table, TaskResult
from xsam_backend.evaluation.semantic import SemanticIoU
from xsam_backend.evaluation.tasks.run import Setting
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.instances import Instances
from xsam_backend.prompts import Prompt, Task

NAN = float("nan")
TITLES = {Task.GENERIC: "Generic segmentation", Task.OPEN_VOCABULARY: "Open-vocabulary segmentation"}


class ClassesRun:
    """See the module's words."""

    def __init__(self, setting: Setting) -> None:
        dataset, options = setting.dataset, setting.options
        self.task = next(task for task in TITLES if task in dataset.tasks)
        self._setting = setting
        self._categories = dataset.categories
        labels = tuple(dict.fromkeys(category.label for category in dataset.categories))
        self._stuff = frozenset(category.label for category in dataset.categories if not category.is_thing)
        self._things = frozenset(labels) - self._stuff
        tells_objects = dataset.labelling in ("instances", "panoptic") and bool(self._things)
        self._objects = _Objects(setting) if tells_objects else None
        is_panoptic = dataset.labelling == "panoptic"
        self._panoptic = PanopticQuality({label: label in self._things for label in labels}) if is_panoptic else None
        self._semantic = SemanticIoU(labels) if dataset.labelling in ("panoptic", "semantic") else None
        self._threshold = options.threshold
        self._gallery = Gallery(options.cases, options.seed)
        self._pictures = 0

    def ask(self, picture: AskedPicture) -> None:
        """One question with all classes."""
        truth = picture.truth
        complete = truth.complete_for & self._things
        if not complete and self._panoptic is None and self._semantic is None:
            return
        threshold = picture.threshold(self.task) if self._threshold is None else self._threshold
        self._threshold = threshold
        candidates = picture.candidates(Prompt(self.task, categories=self._categories))
        seen = candidates.answered(0.0)
        proposed = candidates.instances() if self._objects is not None else None
        segments = candidates.segments() if self._panoptic is not None else None
        areas = candidates.semantic() if self._semantic is not None else None

        if self._objects is not None and proposed is not None:
            self._objects.add(proposed, seen, truth, complete, threshold)
        if self._panoptic is not None and segments is not None:
            self._panoptic.add(segments, truth.masks, truth.names, truth.is_crowd)
        if self._semantic is not None and areas is not None:
            self._semantic.add(areas, truth.masks, truth.names)
        self._pictures += 1
        if segments is not None:
            self._show(truth, segments, complete)
        else:
            self._show(truth, _at_least(_only(seen, complete), threshold) if areas is None else areas, complete)

    def result(self) -> TaskResult:
        """Every table that the truth allows."""
        options = self._setting.options
        tables: list[Table] = []
        if self._panoptic is not None:
            tables.append(_panoptic_table(self._panoptic, options.seed, options.rounds))
        if self._objects is not None:
            tables += self._objects.tables()
        if self._semantic is not None:
            tables.append(_semantic_table(self._semantic, options.seed, options.rounds))
        tables += _details(self._panoptic, self._objects, self._semantic)
        conditions: dict[str, Condition] = {
            "classes asked for": len(self._categories),
            "queries of the model": self._setting.queries,
        }
        if self._panoptic is not None:
            conditions["panoptic result"] = "the reference's: scores above 0.5, of whose pixels 80 % are left"
        if self._objects is not None:
            conditions["maxDets"] = options.max_detections
            conditions["score threshold"] = NAN if self._threshold is None else self._threshold
        return TaskResult(
            title=TITLES[self.task],
            pictures=self._pictures,
            conditions=conditions,
            tables=tuple(tables),
            curves=self._objects.curves() if self._objects is not None else (),
            confusion=self._objects.confusion if self._objects is not None else None,
            cases=self._gallery.cases(),
        )

    def _show(self, truth: GroundTruth, shown: Instances, complete: Collection[str]) -> None:
        """All segments where every pixel has an owner; else the objects of complete classes."""
        everything = self._panoptic is not None or self._semantic is not None
        counted = [i for i, name in enumerate(truth.names) if everything or name in complete]
        true = Instances.of(
            truth.masks[counted], np.ones(len(counted), np.float32), tuple(truth.names[i] for i in counted)
        )
        score = _agreement(shown, true, truth.is_crowd[counted])
        self._gallery.offer(
            score,
            lambda: drawn_case(
                truth.image, true, shown, title=truth.source, measure="F-score of segments", score=score
            ),
        )


class _Objects:
    """Average precision, calibration and confusion of things."""

    def __init__(self, setting: Setting) -> None:
        self._options = setting.options
        self.precision = AveragePrecision(setting.options.max_detections)
        self.confusion = Confusion()
        self._scores: list[NDArray[np.float32]] = []
        self._right: list[NDArray[np.bool_]] = []
        self._ratios = Ratios()
        self._threshold = NAN

    def add(
        self, proposed: Instances, seen: Instances, truth: GroundTruth, complete: Collection[str], threshold: float
    ) -> None:
        """One picture: all proposals, what annotators would see without a threshold, and what is there."""
        self._threshold = threshold
        chosen = [i for i, name in enumerate(truth.names) if truth.is_thing[i] and name in complete]
        masks, crowd = truth.masks[chosen], truth.is_crowd[chosen]
        names = [truth.names[i] for i in chosen]
        seen = _only(seen, complete)
        scores, right = right_detections(seen, masks, names, crowd)
        here = Confusion()
        here.add(_at_least(seen, threshold), masks, names, crowd)
        self.precision.add(_only(proposed, complete), masks, names, crowd)
        self._scores.append(scores)
        self._right.append(right)
        self.confusion.counts.update(here.counts)
        self._ratios.add(_fates(here))

    def tables(self) -> list[Table]:
        """Average precision; what annotators would see at the threshold. None without a picture."""
        if not len(self.precision):
            return []
        options, count = self._options, len(self.precision)
        columns = (Column("ap", "AP"), Column("ap50", "AP50"), Column("ap75", "AP75"))
        estimates = bootstraps(self.precision.summary, count, len(columns), seed=options.seed, rounds=options.rounds)
        there = int(self._ratios.possible("found"))
        row = Row("all", "things", there, {c.key: e for c, e in zip(columns, estimates, strict=True)})
        fates = ("found", "other_label", "missed", "invented")
        values = {f: self._ratios.estimate(f, seed=options.seed, rounds=options.rounds) for f in fates}
        values["ece"] = bootstrap(self._calibration_error, count, seed=options.seed, rounds=options.rounds)
        return [
            Table("average_precision", "Average precision of instances", "instances", columns, (row,)),
            Table(
                "at_threshold",
                f"What annotators see at a score of {self._threshold:.2f} or more",
                "instances",
                (
                    Column("found", "found"),
                    Column("other_label", "as another label"),
                    Column("missed", "missed"),
                    Column("invented", "invented per picture", "number"),
                    Column("ece", "ECE"),
                ),
                (Row("all", "things", there, values),),
            ),
        ]

    def curves(self) -> tuple[Curve, ...]:
        """The reliability curve, of all scores."""
        if not self._scores:
            return ()
        bins = reliability_curve(np.concatenate(self._scores), np.concatenate(self._right))
        seen = tuple((one.mean_score, one.share_right) for one in bins if one.count)
        counts = ", ".join(f"{one.count} of {one.low:.1f} to {one.high:.1f}" for one in bins if one.count)
        return (
            Curve(
                "reliability",
                "Whether scores mean what they say",
                "mean score of the detections in a tenth",
                "share of them that is right",
                (0.0, 1.0),
                (Series("detections", seen), Series("right as often as the score says", ((0.0, 0.0), (1.0, 1.0)))),
                f"Detections by score: {counts or 'none'}. A detection is right if it hits an object at IoU 0.5.",
            ),
        )

    def _calibration_error(self, pictures: NDArray[np.intp]) -> float:
        """Of what annotators see; the many detections below the threshold would outweigh them."""
        if not len(pictures):
            return NAN
        scores = np.concatenate([self._scores[int(i)] for i in pictures])
        right = np.concatenate([self._right[int(i)] for i in pictures])
        seen = scores >= self._threshold
        return expected_calibration_error(reliability_curve(scores[seen], right[seen]))


def _fates(here: Confusion) -> Sums:
    """What became of one picture's true objects, and how many were invented."""
    there = sum(count for (true, _), count in here.counts.items() if true != NOTHING)
    found = sum(count for (true, said), count in here.counts.items() if true == said)
    missed = sum(count for (_, said), count in here.counts.items() if said == NOTHING)
    invented = sum(count for (true, _), count in here.counts.items() if true == NOTHING)
    return {
        "found": (found, there),
        "other_label": (there - found - missed, there),
        "missed": (missed, there),
        "invented": (invented, 1),
    }


def _panoptic_table(measure: PanopticQuality, seed: int, rounds: int) -> Table:
    columns = (Column("pq", "PQ"), Column("sq", "SQ"), Column("rq", "RQ"))
    parts = dict(zip(("all", "things", "stuff"), measure.summary(), strict=True))

    def numbers(pictures: NDArray[np.intp]) -> list[float]:
        return [number for one in measure.summary(pictures) for number in (one.pq, one.sq, one.rq)]

    count = len(parts) * len(columns)
    estimates = iter(bootstraps(numbers, len(measure), count, seed=seed, rounds=rounds))
    rows = [
        Row(
            key,
            f"{key} ({part.labels} label{'' if part.labels == 1 else 's'})",
            len(measure),
            {column.key: next(estimates) for column in columns},
        )
        for key, part in parts.items()
    ]
    return Table("panoptic", "Panoptic quality", "pictures", columns, tuple(rows))


def _semantic_table(measure: SemanticIoU, seed: int, rounds: int) -> Table:
    value = bootstrap(measure.mean, len(measure), seed=seed, rounds=rounds)
    return Table(
        "semantic",
        "IoU of classes, pixel by pixel",
        "pictures",
        (Column("miou", "mIoU"),),
        (Row("all", f"mean over {len(measure.per_label())} classes", len(measure), {"miou": value}),),
    )


def _details(panoptic: PanopticQuality | None, objects: _Objects | None, semantic: SemanticIoU | None) -> list[Table]:
    """Class by class, without intervals: single classes are mostly too rare for one."""
    measured: dict[str, dict[str, float]] = {}
    if panoptic is not None:
        for label, quality in panoptic.per_label().items():
            measured.setdefault(label, {})["pq"] = quality.pq
    if objects is not None:
        for name, value in objects.precision.per_label(None).items():
            measured.setdefault(str(name), {})["ap"] = value
        for name, value in objects.precision.per_label(0.5).items():
            measured.setdefault(str(name), {})["ap50"] = value
    if semantic is not None:
        for label, value in semantic.per_label().items():
            measured.setdefault(label, {})["iou"] = value
    columns = tuple(
        column
        for column in (Column("pq", "PQ"), Column("ap", "AP"), Column("ap50", "AP50"), Column("iou", "IoU"))
        if any(column.key in values for values in measured.values())
    )
    rows = tuple(
        Row(label, label, 0, {key: Estimate(value, NAN, NAN) for key, value in values.items()})
        for label, values in sorted(measured.items())
    )
    return [Table("per_label", "Class by class", "", columns, rows, is_detail=True)] if rows else []


def _only(found: Instances, labels: Collection[str]) -> Instances:
    return found.select([i for i, label in enumerate(found.labels) if label in labels])


def _at_least(found: Instances, threshold: float) -> Instances:
    return found.select(np.flatnonzero(found.scores >= threshold))


def _agreement(found: Instances, true: Instances, is_crowd: NDArray[np.bool_]) -> float:
    """F-score of segments at IoU 0.5, labels included; nan where nothing is there and nothing was found."""
    _, right = right_detections(found, true.masks, true.labels, is_crowd)
    both = len(right) + int(np.count_nonzero(~is_crowd))
    return 2 * int(right.sum()) / both if both else NAN
