"""COCO-VGD and COCO-Interactive: each kind of prompt, objects without one, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import block, rle, write_json, write_picture

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.coco_names import COCO_NAMES
from xsam_backend.evaluation.datasets.fixed_prompts import open_interactive, open_vgd
from xsam_backend.evaluation.datasets.records import PROMPT_KINDS, PromptKind, Wanted
from xsam_backend.prompts import MaskRegion

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "photos" / "instances.json"

HW = (40, 60)
DOG, CAT, CROWD = (block(slice(5, 35), slice(x, x + 10), HW) for x in (0, 20, 40))
POLYGON = [[20.0, 5.0, 30.0, 5.0, 30.0, 35.0, 20.0, 35.0]]
NOTHING = np.zeros(HW, np.bool_)
PIXEL = block(slice(20, 21), slice(25, 26), HW)


def prompts(**masks: np.ndarray) -> dict[str, Any]:
    return {f"{kind}_visual_prompt": rle(mask) for kind, mask in masks.items()}


def vgd() -> list[dict[str, Any]]:
    """coco_vgdseg_val.json: the dog has no point, nobody has a scribble."""
    annotations = [
        {
            "id": 1,
            "image_id": 139,
            "category_id": 18,
            "iscrowd": 0,
            "area": 300,
            "bbox": [0, 5, 10, 30],
            "bbox_mode": 1,
            "segmentation": rle(DOG),
            "visual_prompts": prompts(point=NOTHING, scribble=NOTHING, box=DOG, mask=DOG),
        },
        {
            "id": 2,
            "image_id": 139,
            "category_id": 17,
            "iscrowd": 0,
            "area": 300,
            "bbox": [20, 5, 10, 30],
            "bbox_mode": 1,
            "segmentation": POLYGON,
            "visual_prompts": prompts(point=PIXEL, scribble=NOTHING, box=CAT, mask=CAT),
        },
    ]
    info = {"file_name": "000000000139.jpg", "image_id": 139, "height": 40, "width": 60}
    empty = {**annotations[0], "visual_prompts": prompts(point=NOTHING, scribble=NOTHING, box=NOTHING, mask=NOTHING)}
    other = {"image_file": "000000000140.jpg", "image_id": 140, "image_size": [40, 60], "image_info": info}
    first = {"image_file": "000000000139.jpg", "image_id": 139, "image_size": [40, 60], "image_info": info}
    return [{**first, "annotations": annotations}, {**other, "annotations": [empty]}]


def psalm() -> list[dict[str, Any]]:
    """coco_interactive_val_psalm.json: single pixels as points; crowds are asked for, too."""
    info = {"id": 139, "file_name": "000000000139.jpg", "height": 40, "width": 60, "license": 2}
    line = block(slice(20, 21), slice(5, 30), HW)
    annotations = [
        {
            "id": 2,
            "image_id": 139,
            "category_id": 17,
            "iscrowd": 0,
            "bbox": [20, 5, 10, 30],
            "segmentation": POLYGON,
            **{
                f"{kind}_mask": coded
                for kind, coded in prompts(point=PIXEL, scribble=line, box=CAT, mask=CAT).items()
            },
        },
        {
            "id": 900,
            "image_id": 139,
            "category_id": 1,
            "iscrowd": 1,
            "bbox": [40, 5, 10, 30],
            "segmentation": {"size": list(HW), "counts": [1605, 30, *[10, 30] * 9, 405]},
            **{f"{kind}_mask": c for kind, c in prompts(point=NOTHING, scribble=line, box=CROWD, mask=CROWD).items()},
        },
    ]
    return [{"image": "000000000139.jpg", "image_info": info, "new_img_id": 0, "anns": annotations}]


def write(tmp_path: Path, content: Any, name: str = "coco_vgdseg_val.json") -> Path:
    """X-SAM's layout: ``annotations`` beside ``coco2017/val2017``."""
    for number in (139, 140):
        write_picture(tmp_path / "coco2017" / "val2017" / f"{number:012d}.jpg", HW)
    return write_json(tmp_path / "annotations" / name, content)


def masks_of(regions: Any) -> list[np.ndarray]:
    assert all(isinstance(region, MaskRegion) for region in regions)
    return [region.mask for region in regions]


@pytest.mark.parametrize(
    ("kind", "names", "expected"), [("point", ("cat",), [PIXEL]), ("box", ("dog", "cat"), [DOG, CAT])]
)
def test_vgd(tmp_path: Path, kind: PromptKind, names: tuple[str, ...], expected: list[np.ndarray]) -> None:
    """Objects without a prompt of the kind aren't there, pictures without such objects neither."""
    dataset = open_vgd(Wanted(write(tmp_path, vgd()), prompts=kind, split="val"))
    (record,) = dataset.records
    truth, regions = record.load(), record.regions()
    assert truth.names == names
    np.testing.assert_array_equal(masks_of(regions), expected)
    assert all(region.is_outline is (kind == "box") for region in regions)  # type: ignore[union-attr]
    np.testing.assert_array_equal(truth.masks[-1], CAT)
    assert truth.complete_for == set(COCO_NAMES.values())
    assert len(dataset.categories) == 80
    assert dataset.notes == (f"prompts of the benchmark; {3 - len(names)} objects without a {kind} left out",)


def test_interactive(tmp_path: Path) -> None:
    file = write(tmp_path, psalm(), "coco_interactive_val_psalm.json")
    (record,) = open_interactive(Wanted(file, prompts="box")).records
    truth = record.load()
    assert truth.names == ("cat", "person")
    np.testing.assert_array_equal(truth.masks, [CAT, CROWD])
    np.testing.assert_array_equal(masks_of(record.regions()), [CAT, CROWD])
    assert not truth.is_crowd.any(), "the benchmark asks for crowds as for others"
    assert truth.complete_for == frozenset()


@pytest.mark.parametrize(("kind", "radius", "objects"), [("point", 10, 1), ("scribble", 5, 2)])
def test_psalms_pixels_become_discs(tmp_path: Path, kind: PromptKind, radius: int, objects: int) -> None:
    """Each pixel is a disc of X-SAM's radius, as ``enhance_with_circles`` draws it."""
    file = write(tmp_path, psalm(), "coco_interactive_val_psalm.json")
    (record,) = open_interactive(Wanted(file, prompts=kind)).records
    regions = masks_of(record.regions())
    assert len(regions) == len(record.load().names) == objects
    y, x = np.ogrid[: HW[0], : HW[1]]
    columns = [25] if kind == "point" else range(5, 30)
    expected = np.any([np.hypot(x - column, y - 20) <= radius for column in columns], axis=0)
    np.testing.assert_array_equal(regions[0], expected)


def test_an_object_without_a_pixel_loses_its_prompt_too(tmp_path: Path) -> None:
    content = vgd()
    content[0]["annotations"][0]["segmentation"] = rle(NOTHING)
    (record,) = open_vgd(Wanted(write(tmp_path, content), prompts="box")).records
    assert record.load().names == ("cat",)
    np.testing.assert_array_equal(masks_of(record.regions()), [CAT])


def test_crowds_in_vgd_are_marked(tmp_path: Path) -> None:
    content = vgd()
    content[0]["annotations"][0]["iscrowd"] = 1
    truth = open_vgd(Wanted(write(tmp_path, content), prompts="box")).records[0].load()
    assert truth.is_crowd.tolist() == [True, False]


def damaged(tmp_path: Path, case: str) -> None:
    content: Any = vgd()
    kind: PromptKind | None = "box"
    cat = content[0]["annotations"][1]
    if case == "no kind":
        kind = None
    elif case == "nobody has one":
        kind = "scribble"
    elif case == "unknown category":
        cat["category_id"] = 12
    elif case == "no prompts":
        del cat["visual_prompts"]
    elif case == "damaged prompt":
        cat["visual_prompts"]["box_visual_prompt"]["counts"] = "0"
    elif case == "prompt of another size":
        cat["visual_prompts"]["box_visual_prompt"] = rle(np.ones((4, 4), bool))
    elif case == "damaged mask":
        cat["segmentation"] = [[1.0, 2.0]]
    elif case == "another format":
        content = {"images": []}
    file = write(tmp_path, content)
    if case == "picture of another size":
        write_picture(tmp_path / "coco2017" / "val2017" / "000000000139.jpg", (40, 59))
    if case == "no pictures":
        (tmp_path / "coco2017").rename(tmp_path / "gone")
    for record in open_vgd(Wanted(file, prompts=kind)).records:
        record.regions()
        record.load()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no kind", "choose one of point, scribble, box, mask"),
        ("nobody has one", "none of its 2 pictures has an object with a scribble"),
        ("unknown category", "12 is missing or unknown: expected COCO-VGD"),
        ("no prompts", "'visual_prompts' is missing"),
        ("damaged prompt", "expected COCO-VGD.*damaged"),
        ("prompt of another size", r"the box of a cat: RLE: expected size \(40, 60\), got \(4, 4\)"),
        ("damaged mask", "the mask of a cat: .*at least 6 values"),
        ("picture of another size", r"expected \(height, width\) \(40, 60\) as in its labels, got \(40, 59\)"),
        ("another format", "expected COCO-VGD as X-SAM or PSALM write it"),
        ("no pictures", "such as 000000000139.jpg in .*found none"),
    ],
)
def test_refused(tmp_path: Path, case: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        damaged(tmp_path, case)


def test_names_are_cocos() -> None:
    assert len(COCO_NAMES) == 80
    assert (min(COCO_NAMES), max(COCO_NAMES)) == (1, 90)
    if not PHOTOS.exists():
        pytest.skip("needs ../shared/data/photos beside the repository")
    categories = json.loads(PHOTOS.read_text())["categories"]
    assert {category["id"]: category["name"] for category in categories} == COCO_NAMES


def test_all_kinds_are_read(tmp_path: Path) -> None:
    content = vgd()
    content[0]["annotations"][1]["visual_prompts"] = prompts(**{kind: CAT for kind in PROMPT_KINDS})
    for kind in PROMPT_KINDS:
        regions = open_vgd(Wanted(write(tmp_path, content), prompts=kind)).records[0].regions()
        np.testing.assert_array_equal(masks_of(regions)[-1], CAT)
