"""Files that are in a format but for one value: whatever it is, the reader says so, or reads what can be read."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xsam_backend.errors import XSamBackendError
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.datasets.records import Dataset

HEIGHT, WIDTH = 8, 12
POLYGON = [[1, 1, 9, 1, 9, 6, 1, 6]]
RLE = {"size": [HEIGHT, WIDTH], "counts": [4, 20, 72]}
IMAGE = {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT, "split": "val"}
CATEGORIES = [{"id": 1, "name": "cat", "isthing": 1}]
OBJECT = {"id": 1, "image_id": 1, "original_id": 9, "category_id": 1, "segmentation": POLYGON, "iscrowd": 0}
REGIONS = [
    {
        "id": "x",
        "type": "polygonlabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {"points": [[1, 1], [90, 1], [90, 90]], "polygonlabels": ["cat"]},
    },
    {"id": "x", "type": "textarea", "from_name": "text", "to_name": "image", "value": {"text": ["the cat"]}},
    {"type": "relation", "from_id": "x", "to_id": "x", "direction": "left", "labels": ["on"]},
]

FILES: dict[str, tuple[str, str, Any]] = {
    "COCO instances": (
        "coco",
        "instances_val2017.json",
        {"images": [IMAGE], "annotations": [OBJECT, {**OBJECT, "segmentation": RLE}], "categories": CATEGORIES},
    ),
    "COCO panoptic": (
        "panoptic",
        "panoptic.json",
        {
            "images": [IMAGE],
            "annotations": [
                {"image_id": 1, "file_name": "map.png", "segments_info": [{"id": 5, "category_id": 1, "iscrowd": 0}]}
            ],
            "categories": CATEGORIES,
        },
    ),
    "PSALM's RefCOCO": (
        "refcoco",
        "val_psalm.json",
        [{"image": "a.png", "image_info": IMAGE, "anns": [OBJECT], "instruction": [{"sent": "a cat"}]}],
    ),
    "MDETR's RefCOCO": (
        "refcoco",
        "finetune_val.json",
        {"images": [{**IMAGE, "caption": "a cat"}], "annotations": [OBJECT], "categories": CATEGORIES},
    ),
    "GranD-f": (
        "gcg",
        "grand_train.json",
        [
            {
                "file_name": "a.png",
                "caption": "a red cat",
                "groundings": {"a red cat": {"token_positives": [0, 9], "rle_masks": [RLE]}},
            }
        ],
    ),
    "GranD-f's flickr": (
        "gcg",
        "flickr_val.json",
        {
            "images": [{**IMAGE, "caption": "a red cat"}],
            "annotations": [{"image_id": 1, "tokens_positive": [[0, 9]], "sam_mask": RLE}],
        },
    ),
    "COCO-VGD": (
        "coco-vgd",
        "vgd_val.json",
        [
            {
                "image_file": "a.png",
                "image_size": [HEIGHT, WIDTH],
                "annotations": [{**OBJECT, "visual_prompts": {"box_visual_prompt": RLE}}],
            }
        ],
    ),
    "COCO-Interactive": (
        "coco-interactive",
        "interactive_val.json",
        [{"image": "a.png", "image_info": IMAGE, "anns": [{**OBJECT, "box_visual_prompt_mask": RLE}]}],
    ),
    "Label Studio": (
        "label-studio",
        "export.json",
        [
            {
                "id": 1,
                "data": {"image": "/data/upload/1/a.png"},
                "annotations": [{"id": 3, "was_cancelled": False, "updated_at": "2024", "result": REGIONS}],
            }
        ],
    ),
    "ReasonSeg": (
        "reasonseg",
        "a.json",
        {"text": ["what?"], "is_sentence": True, "shapes": [{"label": "target", "points": [[1, 1], [9, 1], [9, 6]]}]},
    ),
}
"""Format, file name and content; a picture a.png (.jpg) is beside each."""

VALUES = (None, [], {}, "x", "", -1, float("inf"), float("nan"), 10**30, [[]], {"a": 1}, [None], 1.5, "\0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    ids = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    ids[:4, :, 0] = 5
    Image.fromarray(ids).save(folder / "map.png")
    return folder


def read(folder: Path, form: str, content: Any) -> Dataset:
    """Everything in the file."""
    format, name, _ = FILES[form]
    (folder / name).write_text(json.dumps(content))
    path = folder if format == "reasonseg" else folder / name
    options: dict[str, Any] = {"prompts": "box"} if format.startswith("coco-") else {}
    if format == "label-studio":
        options["images"] = folder
    dataset = open_dataset(path, format, **options)
    for record in dataset.records:
        record.load()
        record.regions()
    return dataset


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all values inside."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = by
    return changed


@pytest.mark.parametrize("form", FILES)
def test_as_they_are_they_can_be_read(folder: Path, form: str) -> None:
    assert len(read(folder, form, FILES[form][2])) == 1


@pytest.mark.parametrize(
    ("form", "path", "value", "said"),
    [
        ("COCO instances", ("annotations", 1, "segmentation", "counts"), [[]], "whole numbers of pixels as counts"),
        ("COCO instances", ("annotations", 1, "segmentation", "counts", 0), float("inf"), "expected whole numbers"),
        ("COCO instances", ("annotations", 1, "segmentation", "counts", 0), 10**30, "expected whole numbers"),
        ("COCO instances", ("annotations", 1, "segmentation", "counts"), [2**62] * 4 + [96], "got 46116860184273"),
        ("GranD-f", (0,), {}, "a form of GranD-f's grounded captions"),
        ("Label Studio", (0, "annotations", 0, "result", 0, "id"), [], "Label Studio's JSON export"),
        ("Label Studio", (0, "annotations", 0, "result", 2, "labels"), -1, "texts and relations"),
    ],
)
def test_words_for_one_wrong_value(folder: Path, form: str, path: tuple[Any, ...], value: Any, said: str) -> None:
    with pytest.raises(XSamBackendError, match=said):
        read(folder, form, replaced(FILES[form][2], path, value))


@pytest.mark.parametrize("form", FILES)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_no_value_ends_the_run(folder: Path, form: str, data: st.DataObject) -> None:
    """What goes wrong is an error of ours, which leaves out a picture, not one that ends hours of work."""
    content = FILES[form][2]
    path = data.draw(st.sampled_from(list(places(content))))
    value = data.draw(st.sampled_from(VALUES))
    with contextlib.suppress(XSamBackendError):
        read(folder, form, replaced(content, path, value))
