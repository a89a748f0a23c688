"""ReasonSeg's files: targets, ignored pixels, two kinds of questions, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dataset_files import write_json, write_picture

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.reason_seg import open_reason_seg
from xsam_backend.evaluation.datasets.records import Wanted
from xsam_backend.ground_truth import Expression


def shape(label: str, *points: tuple[float, float]) -> dict[str, Any]:
    """As LISA's JSONs have it, LabelMe's other fields included."""
    return {
        "label": label,
        "labels": [label],
        "shape_type": "polygon",
        "image_name": "a.jpg",
        "points": [list(point) for point in points],
        "group_id": None,
        "group_ids": [None],
        "flags": {},
    }


LARGE = shape("target", (1.0, 1.0), (8.0, 1.0), (8.0, 6.0), (1.0, 6.0))
"""8 x 6 = 48 px: OpenCV takes the outline's own pixels in."""
SMALL_IGNORED = shape("ignore", (2.9, 2.9), (4.9, 2.9), (4.9, 4.9), (2.9, 4.9))
"""Whole pixels: 3 x 3 = 9 px at (2, 2)."""
FLAG = shape("flag", (0.0, 0.0), (9.0, 0.0), (9.0, 7.0))


def write(folder: Path, name: str, shapes: list[dict[str, Any]], is_sentence: bool = True, **more: Any) -> None:
    write_picture(folder / f"{name}.jpg")
    content = {"text": ["What could roll away?"], "is_sentence": is_sentence, "shapes": shapes, **more}
    write_json(folder / f"{name}.json", content)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_smaller_shapes_lie_on_larger_ones(tmp_path: Path, order: list[int]) -> None:
    shapes = [(LARGE, SMALL_IGNORED, FLAG)[i] for i in order]
    write(tmp_path / "val", "a", shapes, text=["What could roll away? ", "What is round?"])
    dataset = open_reason_seg(Wanted(tmp_path, split="val"))
    (record,) = dataset.records
    truth = record.load()
    assert truth.ignored is not None
    assert (truth.masks.sum(), truth.ignored.sum()) == (48 - 9, 9)
    assert truth.ignored[2:5, 2:5].all()
    assert not truth.masks[0, 2:5, 2:5].any()
    assert truth.questions == (Expression("What could roll away?", (0,)), Expression("What is round?", (0,)))
    assert (record.split, dataset.split, record.regions()) == ("val", "val", ())


def test_a_small_target_on_a_large_ignored_shape_counts(tmp_path: Path) -> None:
    write(tmp_path, "a", [{**SMALL_IGNORED, "label": "target"}, {**LARGE, "label": "ignore"}])
    truth = open_reason_seg(Wanted(tmp_path)).records[0].load()
    assert truth.ignored is not None
    assert (truth.masks.sum(), truth.ignored.sum()) == (9, 39)


def test_painted_as_lisa_paints(tmp_path: Path) -> None:
    """Random shapes against the procedure in its words: sort by area, largest first, outline and fill."""
    rng = np.random.default_rng(0)
    for case in range(30):
        shapes = [
            shape(label, *rng.uniform(-3, 40, (int(rng.integers(3, 8)), 2)).tolist())
            for label in rng.choice(["target", "ignore", "target"], 4)
        ]
        shapes.append(LARGE)
        masks = []
        for one in shapes:
            mask = np.zeros((30, 36), np.uint8)
            points = np.array([one["points"]], dtype=np.int32)
            cv2.polylines(mask, points, True, 1, 1)
            cv2.fillPoly(mask, points, 1)
            masks.append(mask.astype(bool))
        expected = np.zeros((30, 36), np.uint8)
        for index in list(np.argsort([mask.sum() for mask in masks])[::-1]):
            expected[masks[index]] = 255 if "ignore" in shapes[index]["label"] else 1
        write(tmp_path, "a", shapes)
        write_picture(tmp_path / "a.jpg", (30, 36))
        truth = open_reason_seg(Wanted(tmp_path)).records[0].load()
        np.testing.assert_array_equal(truth.masks[0], expected == 1, err_msg=str(case))
        np.testing.assert_array_equal(truth.ignored, expected == 255, err_msg=str(case))


@pytest.mark.parametrize(
    ("only", "sources"), [(None, ["long.jpg", "short.jpg"]), ("sentence", ["long.jpg"]), ("phrase", ["short.jpg"])]
)
def test_sentences_and_phrases(tmp_path: Path, only: str | None, sources: list[str]) -> None:
    write(tmp_path, "long", [LARGE])
    write(tmp_path, "short", [LARGE], is_sentence=False, text=["the round thing"])
    write(tmp_path, "none", [SMALL_IGNORED])
    dataset = open_reason_seg(Wanted(tmp_path, only=only))
    assert [record.source for record in dataset.records] == sources
    left_out = 0 if only == "phrase" else 1
    assert dataset.notes[0] == f"{left_out} pictures without a target left out"


def test_western_windows_letters(tmp_path: Path) -> None:
    write(tmp_path, "a", [LARGE])
    content = {"text": ["Where is the café?"], "is_sentence": True, "shapes": [LARGE]}
    (tmp_path / "a.json").write_bytes(json.dumps(content, ensure_ascii=False).encode("cp1252"))
    assert open_reason_seg(Wanted(tmp_path)).records[0].load().questions[0].text == "Where is the café?"


def damaged(tmp_path: Path, case: str) -> None:
    wanted = Wanted(tmp_path)
    shapes: list[Any] = [LARGE]
    if case == "points that aren't pairs":
        shapes = [{**LARGE, "points": [1, 2, 3]}]
    elif case == "points that aren't numbers":
        shapes = [{**LARGE, "points": [["a", "b"]]}]
    elif case == "points far away":
        shapes = [{**LARGE, "points": [[1e12, 0], [0, 0], [1, 1]]}]
    elif case == "target outside":
        shapes = [shape("target", (20, 20), (30, 20), (30, 30))]
    elif case == "no label":
        shapes = [{"points": [[0, 0]]}]
    elif case == "nothing but ignored":
        shapes = [SMALL_IGNORED]
    write(tmp_path, "a", shapes)
    if case == "no JSON":
        (tmp_path / "a.json").write_text("{")
    elif case == "no text":
        write_json(tmp_path / "a.json", {"shapes": [], "is_sentence": True})
    elif case == "no picture":
        (tmp_path / "a.jpg").unlink()
        (tmp_path / "test").mkdir()
    elif case == "picture cut off":
        (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    elif case == "unknown part":
        wanted = Wanted(tmp_path, only="question")
    for record in open_reason_seg(wanted).records:
        record.load()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("points that aren't pairs", r"expected pairs \[x, y\], got shape \(3,\)"),
        ("points that aren't numbers", "expected pairs of numbers"),
        ("points far away", "expected finite numbers near the picture"),
        ("target outside", "its target covers no pixel"),
        ("no label", "'label' is missing or unknown: expected ReasonSeg's"),
        ("nothing but ignored", "none of its 1 pictures has a target"),
        ("no JSON", "expected JSON"),
        ("no text", "'text' is missing"),
        ("no picture", r"found none: point to ReasonSeg's folder and choose a split \(test\)"),
        ("picture cut off", "expected a picture"),
        ("unknown part", "one of sentence, phrase in ReasonSeg, got 'question'"),
    ],
)
def test_refused(tmp_path: Path, case: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        damaged(tmp_path, case)
