"""COCO panoptic format: ids in PNGs, things, stuff, crowds, void, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import COCO, write_json, write_picture
from PIL import Image

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.panoptic_folder import open_panoptic
from xsam_backend.evaluation.datasets.records import Wanted
from xsam_backend.prompts import Task

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "photos" / "panoptic_sample"

PERSON, SKY, CROWD = 5, 300, 70000
"""Segment ids of one, two and three bytes."""


def ids() -> np.ndarray:
    """Sky above, a person and a crowd below, the last column void."""
    segments = np.full((8, 10), SKY)
    segments[4:, :4] = PERSON
    segments[4:, 4:] = CROWD
    segments[:, 9] = 0
    return segments


def content() -> dict[str, Any]:
    segments = [
        {"id": PERSON, "category_id": 1, "iscrowd": 0, "area": 16, "bbox": [0, 4, 4, 4]},
        {"id": SKY, "category_id": 187, "iscrowd": 0, "area": 36, "bbox": [0, 0, 9, 4]},
        {"id": CROWD, "category_id": 1, "iscrowd": 1, "area": 20, "bbox": [4, 4, 5, 4]},
    ]
    return {
        "images": [{"id": 7, "file_name": "000000000007.jpg", **COCO}],
        "annotations": [{"image_id": 7, "file_name": "000000000007.png", "segments_info": segments}],
        "categories": [
            {"id": 1, "name": "person", "isthing": 1, "supercategory": "person", "color": [220, 20, 60]},
            {"id": 187, "name": "sky-other-merged", "isthing": 0, "supercategory": "sky", "color": [70, 130, 180]},
        ],
    }


def write(tmp_path: Path, content: dict[str, Any], segments: np.ndarray) -> Path:
    """The layout of COCO's archives: PNGs in a folder named as the JSON, pictures in ``val2017``."""
    file = write_json(tmp_path / "annotations" / "panoptic_val2017.json", content)
    write_picture(tmp_path / "val2017" / "000000000007.jpg")
    rgb = np.stack([segments % 256, segments // 256 % 256, segments // 65536], -1).astype(np.uint8)
    png = tmp_path / "annotations" / "panoptic_val2017" / "000000000007.png"
    png.parent.mkdir()
    Image.fromarray(rgb).save(png)
    return file


def test_things_stuff_crowds_and_void(tmp_path: Path) -> None:
    dataset = open_panoptic(Wanted(write(tmp_path, content(), ids()), split="val"))
    assert [(category.label, category.is_thing) for category in dataset.categories] == [
        ("person", True),
        ("sky-other-merged", False),
    ]
    assert (dataset.tasks[0], dataset.labelling) == (Task.GENERIC, "panoptic")
    (record,) = dataset.records
    truth = record.load()
    assert truth.names == ("person", "sky-other-merged", "person")
    assert truth.is_thing.tolist() == [True, False, True]
    assert truth.is_crowd.tolist() == [False, False, True]
    for mask, number in zip(truth.masks, (PERSON, SKY, CROWD), strict=True):
        np.testing.assert_array_equal(mask, ids() == number)
    assert truth.ignored is not None
    np.testing.assert_array_equal(truth.ignored, ids() == 0)
    assert truth.complete_for == {"person", "sky-other-merged"}


def test_a_listed_segment_without_a_pixel_is_left_out(tmp_path: Path) -> None:
    segments = np.where(ids() == PERSON, SKY, ids())
    assert open_panoptic(Wanted(write(tmp_path, content(), segments))).records[0].load().names == (
        "sky-other-merged",
        "person",
    )


def test_text_ids_and_categories_from_zero(tmp_path: Path) -> None:
    """ADE20K's panoptic JSON: ``ade20k_panoptic_val.json`` beside ``images/validation``."""
    file = write_json(
        tmp_path / "ade20k_panoptic_val.json",
        {
            "images": [{"id": "ADE_val_00000001", "file_name": "ADE_val_00000001.jpg", **COCO}],
            "annotations": [
                {
                    "image_id": "ADE_val_00000001",
                    "file_name": "ADE_val_00000001.png",
                    "segments_info": [{"id": 9, "category_id": 0, "area": 80, "bbox": [0, 0, 10, 8], "iscrowd": 0}],
                }
            ],
            "categories": [{"name": "wall", "id": 0, "isthing": 0, "color": [120, 120, 120]}],
        },
    )
    write_picture(tmp_path / "images" / "validation" / "ADE_val_00000001.jpg")
    (tmp_path / "ade20k_panoptic_val").mkdir()
    rgb = np.zeros((8, 10, 3), np.uint8)
    rgb[..., 0] = 9
    Image.fromarray(rgb).save(tmp_path / "ade20k_panoptic_val" / "ADE_val_00000001.png")
    dataset = open_panoptic(Wanted(file, split="val"))
    assert dataset.tasks[0] is Task.OPEN_VOCABULARY
    truth = dataset.records[0].load()
    assert truth.names == ("wall",)
    assert truth.masks.all()
    assert not truth.is_thing.any()


def damaged(tmp_path: Path, case: str) -> None:
    data, segments = content(), ids()
    if case == "id that isn't listed":
        segments[0, 0] = 12345
    elif case == "unknown category":
        data["annotations"][0]["segments_info"][0]["category_id"] = 99
    elif case == "unknown picture":
        data["annotations"].append({**data["annotations"][0], "image_id": 8})
    elif case == "picture without segments":
        data["images"].append({"id": 8, "file_name": "8.jpg", **COCO})
    elif case == "no isthing":
        del data["categories"][0]["isthing"]
    elif case == "PNG of another size":
        segments = segments[:, :5]
    elif case == "picture of another size":
        data["images"][0]["width"] = 11
    elif case == "another format":
        data["annotations"][0]["segments_info"] = None
    file = write(tmp_path, data, segments)
    png = tmp_path / "annotations" / "panoptic_val2017" / "000000000007.png"
    if case == "grey PNG":
        Image.fromarray(np.ones((8, 10), np.uint8)).save(png)
    elif case == "PNG gone":
        png.unlink()
    elif case == "PNG cut off":
        png.write_bytes(png.read_bytes()[:50])
    elif case == "no JSON":
        file.write_text("{")
    for record in open_panoptic(Wanted(file)).records:
        record.load()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("id that isn't listed", r"got also \[12345\]: the PNG belongs to other labels"),
        ("unknown category", "99 is missing or unknown: expected COCO panoptic format"),
        ("unknown picture", r"segments of pictures that it doesn't list: \['8'\]"),
        ("picture without segments", "expected segments of picture 8, there are none"),
        ("no isthing", "'isthing' is missing"),
        ("PNG of another size", r"expected \(height, width\) \(8, 10\) as its picture, got \(8, 5\)"),
        ("picture of another size", r"expected \(height, width\) \(8, 11\) as in its labels"),
        ("grey PNG", "expected a PNG of mode RGB whose values are ids, got mode L"),
        ("PNG gone", "such as 000000000007.png in .*found none"),
        ("PNG cut off", "expected a PNG with ids"),
        ("another format", "expected COCO panoptic format, got something else"),
        ("no JSON", "expected JSON"),
    ],
)
def test_refused(tmp_path: Path, case: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        damaged(tmp_path, case)


def test_real_pictures() -> None:
    if not SAMPLE.exists():
        pytest.skip("needs ../shared/data/photos/panoptic_sample beside the repository")
    dataset = open_panoptic(Wanted(SAMPLE))
    assert len(dataset.categories) == 133
    assert sum(category.is_thing for category in dataset.categories) == 80
    truths = [record.load() for record in dataset.records]
    assert [len(truth.names) for truth in truths] == [18, 32]
    for truth in truths:
        assert truth.ignored is not None
        assert (truth.masks.sum(0) + truth.ignored == 1).all(), "every pixel is in one segment or void"
        stuff = [name for name, is_thing in zip(truth.names, truth.is_thing, strict=True) if not is_thing]
        assert len(stuff) == len(set(stuff))
