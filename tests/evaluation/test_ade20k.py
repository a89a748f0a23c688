"""ADE20K's archive: classes from 1 on, void, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_files import write_picture
from PIL import Image

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.ade20k import open_ade20k
from xsam_backend.evaluation.datasets.ade20k_names import ADE20K_NAMES
from xsam_backend.evaluation.datasets.records import Wanted


def classes() -> np.ndarray:
    """Wall (1) on the left, flag (150) on the right, two rows of void."""
    values = np.ones((8, 10), np.uint8)
    values[:, 5:] = 150
    values[:2] = 0
    return values


def write(folder: Path, values: np.ndarray, name: str = "ADE_val_00000001", part: str = "validation") -> Path:
    write_picture(folder / "images" / part / f"{name}.jpg")
    png = folder / "annotations" / part / f"{name}.png"
    png.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(png)
    return png


def test_classes_and_void(tmp_path: Path) -> None:
    write(tmp_path, classes())
    write(tmp_path, classes(), "ADE_train_00000001", "training")
    dataset = open_ade20k(Wanted(tmp_path, split="val"))
    assert (len(dataset.categories), dataset.labelling) == (150, "semantic")
    (record,) = dataset.records
    truth = record.load()
    assert truth.names == ("wall", "flag")
    np.testing.assert_array_equal(truth.masks, [classes() == 1, classes() == 150])
    np.testing.assert_array_equal(truth.ignored, classes() == 0)
    assert not truth.is_thing.any()
    assert [record.source for record in open_ade20k(Wanted(tmp_path)).records] == [
        "ADE_val_00000001.jpg",
        "ADE_train_00000001.jpg",
    ]


def test_nothing_but_void(tmp_path: Path) -> None:
    write(tmp_path, np.zeros((8, 10), np.uint8))
    truth = open_ade20k(Wanted(tmp_path)).records[0].load()
    assert truth.masks.shape == (0, 8, 10)


def test_names() -> None:
    """Places in the benchmark's list that everybody knows by heart."""
    known = {1: "wall", 3: "sky", 13: "person", 21: "car", 84: "truck", 150: "flag"}
    assert {number: ADE20K_NAMES[number - 1] for number in known} == known
    assert len(set(ADE20K_NAMES)) == 150


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("counted from 0", "expected classes 0 to 150, got 255: take the archive's own annotations"),
        ("another size", r"expected \(height, width\) \(8, 10\) as its picture, got \(8, 5\)"),
        ("colours", "expected a PNG of mode L whose values are ids, got mode RGB"),
        ("PNG gone", "expected a PNG with ids"),
        ("no annotations", "point to the folder that holds both"),
        ("no pictures", "expected images/validation"),
        ("no such split", r"split 'test', there are 'val' \(1\)"),
    ],
)
def test_refused(tmp_path: Path, case: str, message: str) -> None:
    values = classes()
    if case == "counted from 0":
        values = values - np.uint8(1)
    elif case == "another size":
        values = values[:, :5]
    elif case == "colours":
        values = np.stack([values] * 3, -1)
    png = write(tmp_path, values)
    if case == "PNG gone":
        png.unlink()
    elif case == "no annotations":
        (tmp_path / "annotations").rename(tmp_path / "elsewhere")
    elif case == "no pictures":
        (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=message):
        open_ade20k(Wanted(tmp_path, split="test" if case == "no such split" else None)).records[0].load()
