"""From a config's data to pictures: which files, how often, and what each stage asks."""

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_models import SIDE, small_config, tokenizer
from trainings import training

from xsam_backend.errors import DatasetError
from xsam_backend.prompts import Task
from xsam_backend.training.config import TrainConfig
from xsam_backend.training.data import balanced_shares, open_data, streams
from xsam_backend.training.sources import Photos

QUESTIONS = {"interactive": 1.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures of a cat or a dog each; the last two are of another split, every third isn't commercial."""
    (tmp_path / "pets" / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(12):
        name = f"images/{'cat' if number % 2 else 'dog'}{number:02}.png"
        Image.fromarray(np.full((20, 30, 3), number * 10, np.uint8)).save(tmp_path / "pets" / name)
        image = {
            "id": number,
            "file_name": name,
            "height": 20,
            "width": 30,
            "split": "train" if number < 10 else "val",
        }
        images.append(image | {"noncommercial_only": number % 3 == 0})
        corners = [[5, 5, 25, 5, 25, 15, 5, 15]]
        annotations.append({"id": number, "image_id": number, "category_id": number % 2, "segmentation": corners})
    categories = [{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "cow"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "pets" / "instances.json").write_text(json.dumps(content))
    return tmp_path


def config_of(folder: Path, **photos: Any) -> TrainConfig:
    part = {"name": "pets", "kind": "photos", "folder": "pets", "share": 1.0, "questions": QUESTIONS, **photos}
    return training(folder / "run", data=[part], data_folder=folder)


def files(config: TrainConfig) -> list[str]:
    source = open_data(config, SIDE)["pets"].source
    assert isinstance(source, Photos)
    return [record.source for record in source.records]


@pytest.mark.parametrize(
    ("photos", "numbers"),
    [
        pytest.param({}, range(10), id="the train split"),
        pytest.param({"split": "val"}, [10, 11], id="another split"),
        pytest.param({"files": "cat*"}, [1, 3, 5, 7, 9], id="by name"),
        pytest.param({"except_files": "cat*"}, [0, 2, 4, 6, 8], id="by other names"),
        pytest.param({"files": "cat*", "except_files": "*05*"}, [1, 3, 7, 9], id="both"),
        pytest.param({"leave_out_every": 4}, [1, 2, 3, 5, 6, 7, 9], id="tuning set aside"),
        pytest.param({"commercial_only": True}, [1, 2, 4, 5, 7, 8], id="licences"),
        pytest.param(
            {"leave_out_every": 4, "commercial_only": True},
            [1, 2, 5, 7],
            id="4 and 8 are for tuning, whatever the licences of those before them",
        ),
    ],
)
def test_photos_that_are_kept(folder: Path, photos: Mapping[str, Any], numbers: Any) -> None:
    assert [int(name[3:5]) for name in files(config_of(folder, **photos))] == list(numbers)


def test_names_are_the_splits_whatever_is_kept(folder: Path) -> None:
    """What isn't in the pictures that are left may still be asked for: as absent."""
    opened = open_data(config_of(folder, files="cat*"), SIDE)
    assert list(opened["pets"].source.names) == ["cat", "cow", "dog"]


def test_nothing_left(folder: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"data 'pets': .* has 10 pictures of split 'train', of which files, .* none"
    ):
        files(config_of(folder, files="cow*"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"instances\.json"):
        files(config_of(tmp_path))


def test_data_sets_in_other_formats(folder: Path) -> None:
    part = {"name": "pets", "kind": "dataset", "path": "pets", "format": "coco", "split": "val", "share": 1.0}
    config = training(folder / "run", data=[{**part, "questions": QUESTIONS}], data_folder=folder)
    assert files(config) == ["dog10.png", "cat11.png"]
    (stream,) = streams(config, open_data(config, SIDE), small_config(), tokenizer())
    assert stream[0].tasks == (Task.INTERACTIVE,)
    assert list(open_data(config, SIDE)["pets"].source.names) == ["dog", "cat", "cow"]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(path)


CORNERS = [[5, 5], [25, 5], [25, 15], [5, 15]]
FLAT = [[float(number) for corner in CORNERS for number in corner]]


def write_reasonseg(folder: Path) -> dict[str, Any]:
    picture(folder / "lisa" / "train" / "a.jpg")
    shape = {"label": "target", "shape_type": "polygon", "points": CORNERS}
    content = {"text": ["What could roll away?"], "is_sentence": True, "shapes": [shape]}
    (folder / "lisa" / "train" / "a.json").write_text(json.dumps(content))
    return {"format": "reasonseg", "path": "lisa", "split": "train"}


def write_gcg(folder: Path) -> dict[str, Any]:
    picture(folder / "images" / "b.jpg")
    refs = [{"sentence": "a red chair", "segmentation": FLAT, "bbox": [5, 5, 20, 10]}]
    content = [{"1": {"img_file_name": "b.jpg", "caption": "A man on a red chair.", "refs": refs}}]
    (folder / "RefCOCOg_GCG_train.json").write_text(json.dumps(content))
    return {"format": "gcg", "path": "RefCOCOg_GCG_train.json", "images": "images"}


def write_refcoco(folder: Path) -> dict[str, Any]:
    picture(folder / "images" / "c.jpg")
    (folder / "refcoco").mkdir()
    annotation = {"id": 8, "image_id": 1, "category_id": 1, "segmentation": FLAT, "iscrowd": 0}
    image = {"id": 1, "file_name": "c.jpg", "height": 20, "width": 30}
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "dog"}]}
    (folder / "refcoco" / "instances.json").write_text(json.dumps(content))
    sentence = {"tokens": ["small", "dog"], "raw": "small dog", "sent_id": 0, "sent": "small dog"}
    ref = {"sent_ids": [0], "file_name": "c.jpg", "ann_id": 8, "ref_id": 0, "image_id": 1, "split": "train"}
    refs = [{**ref, "sentences": [sentence], "category_id": 1}]
    (folder / "refcoco" / "refs(unc).json").write_text(json.dumps(refs))
    return {"format": "refcoco", "path": "refcoco", "images": "images", "split": "train"}


def write_panoptic(folder: Path) -> dict[str, Any]:
    picture(folder / "images" / "d.jpg")
    (folder / "panoptic_train2017").mkdir()
    Image.fromarray(np.full((20, 30, 3), (5, 0, 0), np.uint8)).save(folder / "panoptic_train2017" / "d.png")
    segments = [{"id": 5, "category_id": 1, "iscrowd": 0, "area": 600, "bbox": [0, 0, 30, 20]}]
    content = {
        "images": [{"id": 7, "file_name": "d.jpg", "height": 20, "width": 30}],
        "annotations": [{"image_id": 7, "file_name": "d.png", "segments_info": segments}],
        "categories": [
            {"id": 1, "name": "person", "isthing": 1},
            {"id": 2, "name": "sky-other-merged", "isthing": 0},
        ],
    }
    (folder / "panoptic_train2017.json").write_text(json.dumps(content))
    return {"format": "panoptic", "path": "panoptic_train2017.json", "images": "images"}


@pytest.mark.parametrize(
    ("write", "question", "task"),
    [
        (write_reasonseg, "reasoning", Task.REASONING),
        (write_gcg, "gcg", Task.GCG),
        (write_refcoco, "referring", Task.REFERRING),
        (write_panoptic, "generic", Task.GENERIC),
        (write_panoptic, "interactive", Task.INTERACTIVE),
    ],
)
def test_benchmarks_answer_the_questions_that_the_paper_trains_with(
    tmp_path: Path, write: Callable[[Path], dict[str, Any]], question: str, task: Task
) -> None:
    part = {"name": "them", "kind": "dataset", "share": 1.0, "questions": {question: 1.0}, **write(tmp_path)}
    config = training(tmp_path / "run", data=[part], data_folder=tmp_path)
    (stream,) = streams(config, open_data(config, SIDE), small_config(), tokenizer())
    for index in range(3):
        asked = stream[index]
        assert asked.tasks == (task,)
        assert all(target.masks.any() for target in asked.targets)


def test_shares_come_from_sizes_where_it_says_oversample(folder: Path) -> None:
    parts = [
        {"name": "pets", "kind": "photos", "folder": "pets", "questions": QUESTIONS},
        {"name": "scenes", "kind": "scenes", "pictures": 990, "questions": QUESTIONS},
    ]
    config = training(folder / "run", data=parts, data_folder=folder, oversample=0.04)
    opened = open_data(config, SIDE)
    # One in a hundred, drawn sqrt(0.04 / 0.01) = 2 times as often: 20 to 990.
    assert opened["pets"].share == pytest.approx(20 / 1010)
    assert opened["scenes"].share == pytest.approx(990 / 1010)


@given(
    counts=st.lists(st.integers(1, 10**7), min_size=1, max_size=8), oversample=st.floats(1e-6, 10, allow_nan=False)
)
def test_balancing_helps_the_small_and_keeps_the_order(counts: list[int], oversample: float) -> None:
    shares = balanced_shares(counts, oversample)
    assert sum(shares) == pytest.approx(1)
    by_size = sorted(zip(counts, shares, strict=True))
    assert all(a[1] <= b[1] * (1 + 1e-9) for a, b in pairwise(by_size))
    assert by_size[0][1] >= by_size[0][0] / sum(counts) * (1 - 1e-9), "the smallest never loses"


def test_a_stage_chooses_its_data_and_its_questions(folder: Path) -> None:
    parts = [
        {"name": "pets", "kind": "photos", "folder": "pets", "share": 1.0, "questions": QUESTIONS},
        {"name": "scenes", "kind": "scenes", "share": 3.0, "questions": {"referring": 2.0, "gcg": 0.5}},
    ]
    stages = (
        {"name": "all"},
        {
            "name": "words",
            "data": ["scenes"],
            "questions": {"conversation": 1.0},
            "pictures": 6,
            "batches": "one task",
        },
    )
    config = training(folder / "run", *stages, data=parts, data_folder=folder, seed=7)
    first, second = streams(config, open_data(config, SIDE), small_config(), tokenizer())
    assert [(part.share, part.questions) for part in first.parts] == [
        (1.0, {Task.INTERACTIVE: 1.0}),
        (3.0, {Task.REFERRING: 2.0, Task.GCG: 0.5}),
    ]
    assert [(part.share, part.questions) for part in second.parts] == [(3.0, {Task.CONVERSATION: 1.0})]
    assert (first.together, second.together) == (None, 6)
    assert (first.seed, second.seed) == (7, 8)
    assert first.words == second.words, "heads that read words stay the same from stage to stage"
    assert "cow" in second.words


def test_photos_take_segments_of_the_named_parts(folder: Path) -> None:
    """Only of what those parts keep; and what may come that way may be asked for."""
    dogs = {"name": "dogs", "kind": "photos", "folder": "pets", "files": "dog*", "share": 1.0, "questions": QUESTIONS}
    cats = dogs | {"name": "cats", "files": "cat*", "paste": 2.0}
    config = training(folder / "run", data=[dogs, cats | {"paste_from": ["dogs"]}], data_folder=folder)
    opened = open_data(config, SIDE)
    plain, pasted = opened["dogs"].source, opened["cats"].source
    assert isinstance(plain, Photos)
    assert isinstance(pasted, Photos)
    assert plain.cutouts is None
    assert pasted.cutouts is not None
    assert pasted.cutouts.names == ["dog"]
    own = open_data(training(folder / "run", data=[cats], data_folder=folder), SIDE)["cats"].source
    assert isinstance(own, Photos)
    assert own.cutouts is not None
    assert own.cutouts.names == ["cat"]


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        (
            {"paste": 1.0, "paste_from": ["elsewhere"]},
            r"paste_from: expected names of photo parts \(pets\), got elsewhere",
        ),
        ({"paste_from": ["pets"]}, "paste_from says where from, paste how many: got none"),
    ],
)
def test_where_segments_cannot_be_taken_from(folder: Path, photos: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(folder, **photos)


def test_licences_hold_for_what_is_pasted(folder: Path) -> None:
    any_licence = {"name": "any", "kind": "photos", "folder": "pets", "share": 1.0, "questions": QUESTIONS}
    strict = any_licence | {"name": "strict", "commercial_only": True, "paste": 1.0, "paste_from": ["any"]}
    with pytest.raises(ValueError, match="commercial_only: those that segments are pasted from must be it, too"):
        training(folder / "run", data=[any_licence, strict], data_folder=folder)
    allowed = [any_licence | {"commercial_only": True}, strict]
    assert training(folder / "run", data=allowed, data_folder=folder)
