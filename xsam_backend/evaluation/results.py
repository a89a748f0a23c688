"""What an evaluation says: numbers with their intervals, in tables, and everything that stands with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from xsam_backend.evaluation.bootstrap import Estimate
from xsam_backend.evaluation.confusion import Confusion

Unit = Literal["share", "number"]
"""A share is 0..1, a number anything else: clicks, vertices, CIDEr."""

Condition = str | int | float
CaseKind = Literal["best", "worst", "random"]


@dataclass(frozen=True)
class Column:
    """One measure. ``key`` names it for machines, ``title`` as the field does."""

    key: str
    title: str
    unit: Unit = "share"


@dataclass(frozen=True)
class Row:
    """Measures of one kind of question.

    Attributes:
        key: for machines; different for each row of a table.
        title: for people.
        items: how many questions, objects or pictures the numbers rest on.
        values: by the columns' keys; a column that isn't here has no meaning for the row.
        is_control: what the numbers are to be held against, rather than what is measured.
    """

    key: str
    title: str
    items: int
    values: Mapping[str, Estimate]
    is_control: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of one set of measures. ``items`` is what rows count; ``is_detail`` if it is too long for a screen."""

    key: str
    title: str
    items: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    is_detail: bool = False


@dataclass(frozen=True)
class Series:
    """One line of a curve: (x, y) from left to right; nan where there is no value."""

    title: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """Lines over one axis. ``y`` goes from 0 to 1, ``x`` over ``x_range``; ``notes`` are shown below it."""

    key: str
    title: str
    x_title: str
    y_title: str
    x_range: tuple[float, float]
    series: tuple[Series, ...]
    notes: str = ""


@dataclass(frozen=True)
class Case:
    """One question with its truth and its answer, drawn side by side.

    Attributes:
        kind: why it is shown.
        title: the picture and what was asked.
        score: what it was chosen by, as ``measure`` says.
        truth_words: what the truth's picture shows, for those who can't see it.
        truth_jpeg: the encoded picture.
    """

    kind: CaseKind
    title: str
    measure: str
    score: float
    truth_words: str
    answer_words: str
    truth_jpeg: bytes = field(repr=False)
    answer_jpeg: bytes = field(repr=False)


@dataclass(frozen=True)
class TaskResult:
    """One task over one data set.

    Attributes:
        pictures: how many had something to ask.
        conditions: all that a number depends on besides data and model, by words for people.
    """

    title: str
    pictures: int
    conditions: Mapping[str, Condition]
    tables: tuple[Table, ...]
    curves: tuple[Curve, ...] = ()
    confusion: Confusion | None = None
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A picture that could not be measured, and why. ``task`` is the only one it is missing from, empty for all."""

    source: str
    reason: str
    task: str = ""


@dataclass(frozen=True)
class DatasetResult:
    """All tasks over one data set.

    Attributes:
        pictures: how many it has.
        reached: how many were read or tried; fewer where the run was stopped.
        failures: what could not be measured among them.
        tasks: by their names, keys of ``tasks.choosing.TASKS``.
    """

    name: str
    format: str
    split: str
    labelling: str
    pictures: int
    reached: int
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    seconds: float
    tasks: Mapping[str, TaskResult]

    @property
    def unreadable(self) -> int:
        """Pictures that are missing from all tasks."""
        return sum(not failure.task for failure in self.failures)


@dataclass(frozen=True)
class Evaluation:
    """All data sets of one run, and what holds for all of them.

    Attributes:
        queries: how many masks the model proposes at most per question.
        rounds: draws of the bootstrap; ``confidence`` is that of its intervals.
        is_partial: the run was stopped before it was through.
    """

    model: str
    model_version: str
    queries: int
    seed: int
    rounds: int
    confidence: float
    is_partial: bool
    datasets: tuple[DatasetResult, ...]
