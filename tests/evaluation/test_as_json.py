"""What machines read: keys that stay, and numbers that JSON has."""

from __future__ import annotations

import json

from results_made import evaluation

from xsam_backend.evaluation.report.as_json import FORMAT, FORMAT_VERSION, to_json


def test_the_shape() -> None:
    made = json.loads(json.dumps(to_json(evaluation()), allow_nan=False))
    assert made.keys() == {
        "format",
        "format_version",
        "model",
        "model_version",
        "queries",
        "seed",
        "bootstrap",
        "partial",
        "datasets",
    }
    assert (made["format"], made["format_version"]) == (FORMAT, FORMAT_VERSION) == ("xsam-backend evaluation", 1)
    assert made["bootstrap"] == {"rounds": 1000, "confidence": 0.95}
    assert made["partial"] is False
    (dataset,) = made["datasets"]
    assert {key: dataset[key] for key in ("name", "split", "pictures", "reached", "unreadable", "seconds")} == {
        "name": "photos",
        "split": "val",
        "pictures": 49,
        "reached": 49,
        "unreadable": 1,
        "seconds": 12.3,
    }
    assert dataset["failures"] == [
        {"source": "b.jpg", "task": None, "reason": "damaged"},
        {"source": "c.jpg", "task": "gcg", "reason": "too many words"},
    ]
    task = dataset["tasks"]["interactive"]
    assert task["conditions"]["score threshold"] == 0.3
    assert task["conditions"]["nothing seen"] is None
    table = task["tables"]["fit"]
    assert table["columns"][1] == {"key": "clicks", "title": "NoC85", "unit": "number"}
    assert table["rows"][0] == {
        "key": "box",
        "title": "cat",
        "items": 12,
        "control": False,
        "values": {
            "iou": {"value": 0.7123, "low": 0.65, "high": 0.77},
            "clicks": {"value": 4.301, "low": 3.0, "high": 6.25},
        },
    }
    assert table["rows"][1]["values"] == {"iou": {"value": None, "low": None, "high": None}}
    assert table["rows"][1]["control"] is True
    assert task["curves"]["refusals"]["series"][0]["points"] == [[0.0, 0.0], [0.5, None], [1.0, 1.0]]
    assert {"true": None, "predicted": "cat", "count": 3} in task["confusion"]
    assert {"true": "dog", "predicted": None, "count": 1} in task["confusion"]


def test_pictures_are_left_out() -> None:
    assert "truth" not in json.dumps(to_json(evaluation()))


def test_a_stopped_run_says_so() -> None:
    made = to_json(evaluation(is_partial=True))
    assert made["partial"] is True
    assert made["datasets"][0]["reached"] == 8
