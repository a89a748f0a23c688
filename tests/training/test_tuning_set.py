"""The tuning set is just what the shipped recipe never trains on."""

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from benchmarks.tuning_set import main
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.training.config import PhotoData
from xsam_backend.training.config_file import config_path, load_train_config
from xsam_backend.training.data import open_data
from xsam_backend.training.sources import Photos


def test_it_is_what_the_recipe_leaves_out(tmp_path: Path) -> None:
    for folder in ("photos", "photos_more"):
        (tmp_path / folder).mkdir()
        images, annotations = [], []
        for number in range(45):
            name = f"{'mushroom' if number == 1 else 'photo'}{number}.png"
            Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / folder / name)
            split = "val" if number % 4 == 3 else "train"
            images.append({"id": number, "file_name": name, "height": 20, "width": 30, "split": split})
            corners = [[5, 5, 25, 5, 25, 15, 5, 15]]
            annotations.append({"id": number, "image_id": number, "category_id": 1, "segmentation": corners})
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
        (tmp_path / folder / "instances.json").write_text(json.dumps(content))
    target = tmp_path / "tuning.json"
    result = CliRunner().invoke(main, [str(tmp_path / "photos"), str(target)], catch_exceptions=False)
    assert result.output == f"{target}: 4 pictures, 4 annotations\n"

    config = load_train_config(config_path("tiny"), data_folder=tmp_path)
    trained = open_data(config, 320)["photos"].source
    assert isinstance(config.data[0], PhotoData)
    assert isinstance(trained, Photos)
    used = {record.source for record in trained.records}
    tuning = open_dataset(target, "coco", split="tune", images=tmp_path / "photos")
    aside = {record.source for record in tuning.records}
    assert len(aside) == 4
    assert not aside & used
    assert aside | used == {f"{'mushroom' if n == 1 else 'photo'}{n}.png" for n in range(45) if n % 4 != 3}
