"""The recipe of the shipped model: its size, its parts, and what is kept apart."""

from pathlib import Path

import pytest
from small_models import tokenizer

from xsam_backend.evaluation.datasets.coco_folder import CocoFolder, CocoRecord
from xsam_backend.model.checkpoint import expected_shapes, load_config
from xsam_backend.model.folders import SHIPPED
from xsam_backend.prompts import Task
from xsam_backend.training.config import PhotoData, TrainConfig
from xsam_backend.training.config_file import config_path, load_train_config
from xsam_backend.training.data import open_data
from xsam_backend.training.sources import Photos, Scenes
from xsam_backend.training.tiny import SIDE, TUNING_EVERY, tiny_config

DATA = Path(__file__).parents[2].parent / "shared" / "data"
MEGABYTES = 30

with_photos = pytest.mark.skipif(
    not (DATA / "photos").is_dir(), reason="training photos are at ../shared/data beside the repository only"
)


def test_it_fits_into_the_package() -> None:
    """All files together 30 MB at most, weights in fp16."""
    weights = 0
    for shape in expected_shapes(tiny_config(len(tokenizer()))).values():
        count = 1
        for side in shape:
            count *= side
        weights += 2 * count
    others = sum(file.stat().st_size for file in (SHIPPED / "tiny").iterdir() if file.suffix != ".safetensors")
    assert weights + others < MEGABYTES * 2**20


def test_it_keeps_every_part_of_the_large_model() -> None:
    built = {name.split(".")[0] for name in expected_shapes(tiny_config(len(tokenizer())))}
    assert built == {
        "background",
        "connector",
        "language",
        "llm_projector",
        "seg_projector",
        "segmentor",
        "segmentor_encoder",
        "visual_projector",
    }


@pytest.mark.skipif(not (SHIPPED / "tiny" / "config.json").is_file(), reason="no weights are shipped yet")
def test_shipped_sizes_are_the_recipes() -> None:
    shipped = load_config(SHIPPED / "tiny")
    assert shipped.language == tiny_config(len(tokenizer())).language
    assert expected_shapes(shipped) == expected_shapes(tiny_config(len(tokenizer())))


def recipe() -> TrainConfig:
    return load_train_config(config_path("tiny"), data_folder=DATA)


def trained_photos(config: TrainConfig) -> list[CocoRecord]:
    sources = [opened.source for opened in open_data(config, SIDE).values()]
    records = [record for source in sources if isinstance(source, Photos) for record in source.records]
    return [record for record in records if isinstance(record, CocoRecord)]


def test_every_task_is_trained() -> None:
    asked = {task for part in recipe().data for task in part.questions.by_task}
    assert asked == set(Task) - {Task.OPEN_VOCABULARY}, "open vocabulary has the words of generic"


def test_every_part_is_trained_in_the_end() -> None:
    assert set(recipe().stages[-1].trained_parts) | {"background"} == {
        name.split(".")[0] for name in expected_shapes(tiny_config(len(tokenizer())))
    }


def test_tuning_photos_are_those_that_the_benchmark_takes() -> None:
    photos = [part for part in recipe().data if isinstance(part, PhotoData) and part.folder == Path("photos")]
    assert [part.leave_out_every for part in photos] == [TUNING_EVERY]


@with_photos
def test_tuning_and_val_photos_are_never_trained_on() -> None:
    trained = {record.path for record in trained_photos(recipe())}
    photos = CocoFolder(DATA / "photos")
    assert not trained & {record.path for record in photos.records("val")}
    tuning = [record.path for i, record in enumerate(photos.records("train")) if i % TUNING_EVERY == 0]
    assert tuning
    assert not trained & set(tuning)
    folders = {path.relative_to(DATA).parts[0] for path in trained}
    assert folders == {"photos", "photos_more"}, "nuclei and facades stay unseen"
    more = {record.path for record in CocoFolder(DATA / "photos_more").records("train")}
    assert more <= trained, "mushrooms and the others are all of it"


@with_photos
def test_shares_add_up_and_scenes_are_among_them() -> None:
    opened = open_data(recipe(), SIDE).values()
    assert sum(one.share for one in opened) == pytest.approx(1)
    assert any(isinstance(one.source, Scenes) for one in opened)
    assert all(one.source.names for one in opened)
