"""The recipe of the shipped model: its size, its parts, and what is kept apart."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from small_models import tokenizer

from xsam_backend.evaluation.datasets.coco_folder import CocoFolder
from xsam_backend.model.checkpoint import SHIPPED, expected_shapes, load_config
from xsam_backend.model.predictor import load_predictor
from xsam_backend.prompts import Task
from xsam_backend.training.sources import Photos, Scenes
from xsam_backend.training.tiny import (
    PHOTO_QUESTIONS,
    SCENE_QUESTIONS,
    SPARSE_QUESTIONS,
    TUNING_EVERY,
    main,
    parts,
    tiny_config,
)

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


def test_every_task_is_trained() -> None:
    asked = set(PHOTO_QUESTIONS) | set(SPARSE_QUESTIONS) | set(SCENE_QUESTIONS)
    assert asked == set(Task) - {Task.OPEN_VOCABULARY}, "open vocabulary has the words of generic"


@with_photos
def test_tuning_and_val_photos_are_never_trained_on() -> None:
    sources = [part.source for part in parts(DATA, commercial_only=False)]
    trained = {record.path for source in sources if isinstance(source, Photos) for record in source.records}
    photos = CocoFolder(DATA / "photos")
    assert not trained & {record.path for record in photos.records("val")}
    tuning = [record.path for i, record in enumerate(photos.records("train")) if i % TUNING_EVERY == 0]
    assert tuning
    assert not trained & set(tuning)
    folders = {path.relative_to(DATA).parts[0] for path in trained}
    assert folders == {"photos", "photos_more"}, "nuclei and facades stay unseen"


@with_photos
def test_photos_without_commercial_licence_can_be_left_out() -> None:
    def records(commercial_only: bool) -> list:
        sources = [part.source for part in parts(DATA, commercial_only)]
        return [record for source in sources if isinstance(source, Photos) for record in source.records]

    assert any(record.noncommercial_only for record in records(False))
    kept = records(True)
    assert kept
    assert not any(record.noncommercial_only for record in kept)


@with_photos
def test_shares_add_up_and_scenes_are_among_them() -> None:
    recipe = parts(DATA, commercial_only=False)
    assert sum(part.share for part in recipe) == pytest.approx(1)
    assert any(isinstance(part.source, Scenes) for part in recipe)
    assert all(part.source.names for part in recipe)


@with_photos
def test_an_export_is_a_whole_model(tmp_path: Path) -> None:
    """Config, weights and tokenizer: it can be served as it is."""
    shipped = str(SHIPPED / "tiny")
    given = ["--data", str(DATA), "--run", str(tmp_path / "run"), "--start-from", shipped]
    done = CliRunner().invoke(main, [*given, "--steps", "0", "--export", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert load_predictor(str(tmp_path / "out")).model_version
