"""The shipped model itself on a drawn scene: every door between the runs and the model fits."""

from __future__ import annotations

import pytest

from xsam_backend.evaluation.datasets.drawn_scenes import open_scenes
from xsam_backend.evaluation.running import Wish, evaluate
from xsam_backend.evaluation.tasks.run import Options
from xsam_backend.model.folders import SHIPPED, WEIGHTS
from xsam_backend.model.predictor import load_predictor

pytestmark = pytest.mark.skipif(
    not (SHIPPED / "tiny" / WEIGHTS).is_file(), reason="the shipped weights are not in this checkout"
)


def test_every_task_has_numbers() -> None:
    predictor = load_predictor("tiny", device="cpu")
    options = Options(objects=1, prompts=("point", "box"), controls=False, rounds=0, cases=1)
    evaluation = evaluate(predictor, "tiny", [Wish(open_scenes(1), (), options)])
    (dataset,) = evaluation.datasets
    assert dataset.failures == ()
    assert evaluation.model_version.startswith("tiny-")
    assert evaluation.queries == predictor.queries > 10
    for name, task in dataset.tasks.items():
        assert task.pictures == 1, name
        shares = [
            row.values[column.key].value
            for table in task.tables
            for row in table.rows
            for column in table.columns
            if column.unit == "share" and column.key in row.values
        ]
        # Of scores that all lie below the threshold there is no calibration error.
        known = [value for value in shares if value == value]
        assert len(known) >= len(shares) - 1 > 0, name
        assert all(0 <= value <= 1 for value in known), name
