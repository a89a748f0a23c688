"""``train-clicks`` from a folder of labelled pictures to weights, and what it says about a folder of none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from xsam_backend.evaluation.datasets.drawn_scenes import SceneRecord
from xsam_backend.geometry.coco_rle import mask_to_coco_rle
from xsam_backend.model.click_refiner import ClickRefiner

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two drawn pictures with their masks; the first of ten is measured on."""
    (tmp_path / "photos" / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in (1, 2):
        truth = SceneRecord(number).load()
        height, width = truth.size_hw
        name = f"{number}.png"
        Image.fromarray(truth.image).save(tmp_path / "photos" / "images" / name)
        images.append(
            {"id": number, "file_name": f"images/{name}", "height": height, "width": width, "split": "train"}
        )
        annotations += [
            {
                "id": len(annotations) + count,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": mask_to_coco_rle(mask),
            }
            for count, mask in enumerate(truth.masks[truth.is_thing], 1)
        ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "shape"}]}
    (tmp_path / "photos" / "instances.json").write_text(json.dumps(content))
    return tmp_path / "photos"


def test_from_pictures_to_weights(run: Run, folder: Path, tmp_path: Path) -> None:
    export = tmp_path / "not yet there" / "refiner.safetensors"
    arguments = ("train-clicks", str(folder), "--run", str(tmp_path / "run"), "--steps", "1", "--export", str(export))
    code, out, err = run(*arguments)
    assert code == 0, err
    assert str(export) in out
    assert set(load_file(export)) == set(ClickRefiner().state_dict())
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("0*.safetensors")}
    assert len(first) == 2
    export.unlink()
    assert run(*arguments)[0] == 0, "it goes on, and is done"
    assert export.is_file()
    assert {path: path.stat().st_mtime_ns for path in first} == first, "nobody is asked twice"


def test_a_folder_without_pictures_is_named(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    export = tmp_path / "refiner.safetensors"
    code, _, err = run("train-clicks", str(empty), "--run", str(tmp_path / "run"), "--export", str(export))
    assert code == 1
    assert str(empty) in err
    assert not export.exists()
