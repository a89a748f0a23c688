"""An exam: how good a model is on each of some pictures, so that two models can be compared picture by picture.

What annotators ask of a model, each answered from 0 to 1:

- click: IoU with the object, one click at its middle; mean over some objects.
- box: the same with its box.
- labels: all of the project's labels at once, as pre-labelling does.
- alike: all that is like one object, the one of median area, for each label.
- phrases: IoU with what each of some phrases means, where the truth has phrases.

Labels and alike are counted as panoptic quality is: the IoUs of the pairs that overlap by more than half, over true
positives and half of what was missed or made up. A label that is neither there nor found counts as nothing;
where nothing at all is there, nothing found is right, and anything found is wrong.

What was found by label and like examples is kept besides, with its scores and whether it was right: scores are
calibrated on it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.calibration import right_detections
from xsam_backend.evaluation.datasets.records import Record
from xsam_backend.evaluation.segments import best_first_pairs, pairwise_ious
from xsam_backend.evaluation.simulated_prompts import centre_click, exact_box
from xsam_backend.ground_truth import Expression, GroundTruth
from xsam_backend.instances import Answer, Instances
from xsam_backend.learning.side_by_side import side_by_side
from xsam_backend.prompts import Category, Prompt, Region, Task

QUESTIONS = ("click", "box", "labels", "alike", "phrases")

SEARCHES = ("labels", "alike")
"""The questions that ask for all of a kind."""

OBJECTS_PER_PICTURE = 4
LEAST_IOU = 0.5


class Asked(Protocol):
    """What is needed of a predictor."""

    def answer(self, state: Any, prompt: Prompt) -> Answer:
        """See ``model.predictor.Predictor``."""

    def encode(self, image: NDArray[np.uint8], *, keeps_looks: bool = False) -> Any:
        """See there."""


@dataclass(frozen=True)
class Found:
    """What a model found when it was asked for all of a kind, picture by picture, surest first.

    Attributes:
        scores: float64 (N,), 0..1.
        right: bool (N,), whether it is an object of that label.
        pictures: int64 (N,), which picture of the exam, from 0.
    """

    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    right: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    pictures: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of_pictures(cls, found: Sequence[_Detections]) -> Found:
        """From scores and outcomes of each picture."""
        return cls(
            np.concatenate([np.empty(0), *(scores for scores, _ in found)]),
            np.concatenate([np.empty(0, np.bool_), *(right for _, right in found)]),
            np.repeat(np.arange(len(found)), [len(scores) for scores, _ in found]),
        )


@dataclass(frozen=True)
class Marks:
    """What one model got.

    Attributes:
        by_question: question -> float (pictures,), nan where a picture can't ask it.
        found: the answers to each of the ``SEARCHES``.
    """

    by_question: Mapping[str, NDArray[np.float64]]
    found: Mapping[str, Found] = field(default_factory=lambda: {question: Found() for question in SEARCHES})

    def mean(self, question: str) -> float:
        """Over the pictures that ask it; nan if none does."""
        marks = self.by_question[question]
        known = marks[np.isfinite(marks)]
        return float(known.mean()) if len(known) else float("nan")

    @classmethod
    def joined(cls, parts: Sequence[Marks]) -> Marks:
        """Those of several exams, one after the other; what was found is left out."""
        return cls(
            {
                question: np.concatenate([np.empty(0), *(part.by_question[question] for part in parts)])
                for question in QUESTIONS
            }
        )

    def as_json(self) -> dict[str, Any]:
        """Numbers by question, null where a picture couldn't ask it; and what was found."""
        marks: dict[str, Any] = {
            question: [float(mark) if np.isfinite(mark) else None for mark in marks]
            for question, marks in self.by_question.items()
        }
        found = {
            question: {name: values.tolist() for name, values in vars(found).items()}
            for question, found in self.found.items()
        }
        return marks | {"found": found}

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> Marks:
        """What ``as_json`` gave."""
        return cls(
            {question: np.array(read[question], np.float64) for question in QUESTIONS},
            {
                question: Found(
                    np.array(found["scores"], np.float64),
                    np.array(found["right"], np.bool_),
                    np.array(found["pictures"], np.int64),
                )
                for question, found in read["found"].items()
            },
        )

    @property
    def of_pictures(self) -> NDArray[np.float64]:
        """float (pictures,): the mean over the questions that each picture asks."""
        stacked = np.stack([self.by_question[question] for question in self.by_question])
        known = np.isfinite(stacked)
        counts = known.sum(0)
        sums = np.where(known, stacked, 0.0).sum(0)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def sit_exam(
    predictor: Asked,
    records: Sequence[Record],
    categories: Sequence[Category],
    on_picture: Callable[[int], None] = lambda _: None,
    at_once: int = 1,
) -> Marks:
    """Ask a model about each picture. The same questions for every model: nothing is drawn at random.

    Args:
        on_picture: is told how many pictures are done.
        at_once: so many pictures are asked about side by side.

    Raises:
        DatasetError: a picture can't be read.
    """
    marks: list[Mapping[str, float]] = []
    found: list[Mapping[str, _Detections]] = []
    answered = side_by_side(lambda record: _asked_about(predictor, record, categories), records, at_once)
    for number, (of_picture, detections) in enumerate(answered, 1):
        marks.append(of_picture)
        found.append(detections)
        on_picture(number)
    by_question = {question: np.array([one[question] for one in marks], np.float64) for question in QUESTIONS}
    return Marks(
        by_question, {question: Found.of_pictures([one[question] for one in found]) for question in SEARCHES}
    )


_Detections = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Scores and outcomes of what was found in one picture."""


def _asked_about(
    predictor: Asked, record: Record, categories: Sequence[Category]
) -> tuple[Mapping[str, float], Mapping[str, _Detections]]:
    """Marks by question for one picture; what the searches found."""
    truth = record.load()
    state = predictor.encode(truth.image, keeps_looks=True)
    sheet = _sheet(truth, categories)
    answered = {
        question: [predictor.answer(state, prompt).instances for prompt in prompts]
        for question, prompts in sheet.prompts.items()
    }
    found = {
        question: answered[question][0] if answered[question] else Instances.empty(truth.size_hw)
        for question in SEARCHES
    }
    marks = {
        "labels": _quality(found["labels"], truth, sheet.asked),
        "alike": _quality(found["alike"], truth, sheet.shown),
    }
    for question, meant in sheet.meant.items():
        ious = [_iou(instances, mask) for instances, mask in zip(answered[question], meant, strict=True)]
        marks[question] = float(np.mean(ious)) if ious else float("nan")
    return marks, {
        question: right_detections(instances, truth.masks, truth.names, truth.is_crowd)
        for question, instances in found.items()
    }


@dataclass(frozen=True)
class _Sheet:
    """What is asked about one picture.

    Attributes:
        prompts: question -> its prompts; one at most for labels and alike.
        meant: question -> the mask that each of its prompts means, for those that mean one.
        asked, shown: the labels that ``labels`` asks for, and those that ``alike`` shows an example of.
    """

    prompts: Mapping[str, Sequence[Prompt]]
    meant: Mapping[str, Sequence[NDArray[np.bool_]]]
    asked: set[str]
    shown: set[str]


def _sheet(truth: GroundTruth, categories: Sequence[Category]) -> _Sheet:
    objects = _chosen_objects(truth)
    asked = tuple(category for category in categories if category.label in truth.complete_for)
    median = {name: _median_object(truth, name) for name in dict.fromkeys(truth.names) if name in truth.complete_for}
    shown = {name: index for name, index in median.items() if index is not None}
    examples = tuple(exact_box(truth.masks[index]) for index in shown.values())
    names = tuple(Category(name, name) for name in shown)
    phrases = _chosen_phrases(truth)
    return _Sheet(
        {
            "click": [_pointed(truth, i, centre_click) for i in objects],
            "box": [_pointed(truth, i, exact_box) for i in objects],
            "labels": [Prompt(Task.GENERIC, categories=asked)] if asked else [],
            "alike": [Prompt(Task.VGD, examples, categories=names)] if shown else [],
            "phrases": [Prompt(Task.REFERRING, phrase=one.text, score_threshold=0.0) for one in phrases],
        },
        {
            "click": [truth.masks[i] for i in objects],
            "box": [truth.masks[i] for i in objects],
            "phrases": [truth.union(one.segments) for one in phrases],
        },
        {category.label for category in asked},
        set(shown),
    )


def _pointed(truth: GroundTruth, segment: int, hint: Callable[[NDArray[np.bool_]], Region]) -> Prompt:
    """With the label, as annotators point: they choose it first."""
    region = hint(truth.masks[segment])
    return Prompt(Task.INTERACTIVE, (region,), label=truth.names[segment], score_threshold=0.0)


def _chosen_phrases(truth: GroundTruth) -> list[Expression]:
    said = [expression for expression in truth.referring if expression.segments]
    rng = np.random.default_rng(zlib.crc32(truth.source.encode()))
    return [said[number] for number in rng.permutation(len(said))[:OBJECTS_PER_PICTURE]]


def _quality(found: Instances, truth: GroundTruth, names: set[str]) -> float:
    """Panoptic quality of all these names together: 1 if nothing is there and nothing found, nan without names."""
    if not names:
        return float("nan")
    right, missed_or_made_up = 0.0, 0.0
    pairs = 0
    for name in sorted(names):
        mine = [i for i, label in enumerate(found.labels) if label == name]
        there = [i for i, label in enumerate(truth.names) if label == name and not truth.is_crowd[i]]
        ious = pairwise_ious(found.select(mine).masks, truth.masks[there])
        paired = best_first_pairs(ious, ious > LEAST_IOU)
        right += sum(float(ious[pair]) for pair in paired)
        pairs += len(paired)
        missed_or_made_up += (len(mine) + len(there)) / 2 - len(paired)
    total = pairs + missed_or_made_up
    return right / total if total else 1.0


def _chosen_objects(truth: GroundTruth) -> list[int]:
    """A few objects, the same whenever the picture is asked about."""
    objects = [i for i in range(len(truth.names)) if truth.is_thing[i] and not truth.is_crowd[i]]
    rng = np.random.default_rng(zlib.crc32(truth.source.encode()))
    return [int(i) for i in rng.permutation(objects)[:OBJECTS_PER_PICTURE]]


def _median_object(truth: GroundTruth, name: str) -> int | None:
    of_name = [i for i, own in enumerate(truth.names) if own == name and truth.is_thing[i] and not truth.is_crowd[i]]
    if not of_name:
        return None
    by_area = sorted(of_name, key=lambda i: int(truth.masks[i].sum()))
    return by_area[(len(by_area) - 1) // 2]


def _iou(found: Instances, mask: NDArray[np.bool_]) -> float:
    if not len(found):
        return 0.0
    first = found.cropped[0].whole()
    union = first | mask
    return float((first & mask).sum() / union.sum()) if union.any() else 0.0
