"""Runs over three small pictures, and ways to the numbers in their results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knowing_predictor import KnowingPredictor
from measured_pictures import Given, dataset_of, labelled

from xsam_backend.evaluation.datasets.records import Dataset
from xsam_backend.evaluation.results import DatasetResult, Evaluation, Row, TaskResult
from xsam_backend.evaluation.running import Watching, Wish, evaluate
from xsam_backend.evaluation.tasks.run import Options

OPTIONS = Options(rounds=20, controls=False)
TRUTHS = tuple(labelled(number) for number in range(3))
SCENES = dataset_of([Given(truth) for truth in TRUTHS])


def run(
    dataset: Dataset,
    predictor: Any = None,
    options: Options = OPTIONS,
    tasks: tuple[str, ...] = (),
    **watching: Callable[..., Any],
) -> Evaluation:
    if predictor is None:
        predictor = KnowingPredictor([record.truth for record in dataset.records])  # type: ignore[attr-defined]
    return evaluate(predictor, "by hand", [Wish(dataset, tasks, options)], Watching(**watching))


def only(evaluation: Evaluation) -> DatasetResult:
    (dataset,) = evaluation.datasets
    return dataset


def rows(task: TaskResult, table: str) -> dict[str, Row]:
    (found,) = (one for one in task.tables if one.key == table)
    return {row.key: row for row in found.rows}


def value(task: TaskResult, table: str, row: str, column: str) -> float:
    return rows(task, table)[row].values[column].value
