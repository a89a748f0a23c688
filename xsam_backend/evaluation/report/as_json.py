"""An evaluation as JSON, for machines: stable keys, described in docs/evaluation.md. A value that isn't is null."""

from __future__ import annotations

import math
from typing import Any

from xsam_backend.evaluation.bootstrap import Estimate
from xsam_backend.evaluation.confusion import NOTHING, Confusion
from xsam_backend.evaluation.results import Condition, Curve, DatasetResult, Evaluation, Row, Table, TaskResult

FORMAT = "xsam-backend evaluation"
FORMAT_VERSION = 1
"""Goes up when a key changes its meaning or goes away; new keys may come at any time."""


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Ready for ``json.dumps``, without nan. Pictures are left out."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": evaluation.model,
        "model_version": evaluation.model_version,
        "queries": evaluation.queries,
        "seed": evaluation.seed,
        "bootstrap": {"rounds": evaluation.rounds, "confidence": evaluation.confidence},
        "partial": evaluation.is_partial,
        "datasets": [_dataset(dataset) for dataset in evaluation.datasets],
    }


def _dataset(dataset: DatasetResult) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "format": dataset.format,
        "split": dataset.split,
        "labelling": dataset.labelling,
        "pictures": dataset.pictures,
        "reached": dataset.reached,
        "unreadable": dataset.unreadable,
        "failures": [
            {"source": failure.source, "task": failure.task or None, "reason": failure.reason}
            for failure in dataset.failures
        ],
        "notes": list(dataset.notes),
        "seconds": round(dataset.seconds, 1),
        "tasks": {name: _task(task) for name, task in dataset.tasks.items()},
    }


def _task(task: TaskResult) -> dict[str, Any]:
    return {
        "title": task.title,
        "pictures": task.pictures,
        "conditions": {name: _condition(value) for name, value in task.conditions.items()},
        "tables": {table.key: _table(table) for table in task.tables},
        "curves": {curve.key: _curve(curve) for curve in task.curves},
        "confusion": None if task.confusion is None else _confusion(task.confusion),
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "items": table.items,
        "columns": [{"key": c.key, "title": c.title, "unit": c.unit} for c in table.columns],
        "rows": [_row(row) for row in table.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "title": row.title,
        "items": row.items,
        "control": row.is_control,
        "values": {key: _estimate(estimate) for key, estimate in row.values.items()},
    }


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {"value": _number(estimate.value), "low": _number(estimate.low), "high": _number(estimate.high)}


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "title": curve.title,
        "x": curve.x_title,
        "y": curve.y_title,
        "series": [
            {"title": one.title, "points": [[_number(x), _number(y)] for x, y in one.points]} for one in curve.series
        ],
        "notes": curve.notes,
    }


def _confusion(confusion: Confusion) -> list[dict[str, Any]]:
    """Each pair that occurred; null is nothing: a missed object, or an invented one."""
    return [
        {"true": None if true == NOTHING else true, "predicted": None if said == NOTHING else said, "count": count}
        for (true, said), count in sorted(confusion.counts.items())
    ]


def _condition(value: Condition) -> Condition | None:
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
