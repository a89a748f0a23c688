"""One job from accepted annotations to a version, with a small model and a few steps: what it leaves, and a kill."""

from __future__ import annotations

import io
import json
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from learning_parts import CONFIG, KEY, Parts, polygon
from PIL import Image
from small_models import small_model

from xsam_backend.errors import JobError
from xsam_backend.learning import folds
from xsam_backend.learning.fine_tuning import Places, fine_tune_project
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.model.checkpoint import SHIPPED, load_model, model_version, save_model
from xsam_backend.model.delta import load_delta, with_delta
from xsam_backend.store.annotations import KeptAnnotation
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.projects import ProjectKey
from xsam_backend.store.tasks import TaskPicture
from xsam_backend.store.versions import Versions

START = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
JOB: Any = SimpleNamespace(id=7, project_key=KEY, tries=1)


def encoded(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def accept(parts: Parts, files: PictureFiles, numbers: range) -> None:
    """One accepted polygon on a picture of its own for each number."""
    for number in numbers:
        picture = TaskPicture("image", None, None, files.put(encoded(number)), (48, 64))
        parts.tasks.know(KEY, number, [picture])
        at = START + timedelta(seconds=number)
        parts.annotations.keep([KeptAnnotation(KEY, number, number, "accepted", at, 1, False, (polygon("r"),))])


@pytest.fixture
def places(parts: Parts, tmp_path: Path) -> Places:
    """Twelve pictures, a small base model, two steps a training, one rehearsed scene."""
    base = tmp_path / "base"
    save_model(small_model(), base, torch.float32)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / "tiny" / name, base / name)
    parts.projects.remember(ProjectKey.parse(KEY), "cats", CONFIG)
    accept(parts, PictureFiles(tmp_path / "pictures"), range(1, 13))
    return Places(
        projects=parts.projects,
        tasks=parts.tasks,
        annotations=parts.annotations,
        versions=Versions(parts.store),
        files=VersionFiles(tmp_path / "versions"),
        model=str(base),
        models=tmp_path / "models",
        device="cpu",
        folder=tmp_path / "jobs" / "7",
        pictures=tmp_path / "pictures",
        steps=2,
        rehearsed=1,
    )


def quietly(stage: str, step: int = 0, steps: int = 0) -> None:
    pass


def test_a_version_comes_about_with_its_report(places: Places) -> None:
    told: list[tuple[str, int, int]] = []
    result = fine_tune_project(JOB, lambda *stage: told.append(stage), places)  # type: ignore[arg-type]
    (version,) = places.versions.all(KEY)
    base = model_version(places.model)
    assert (version.name, version.base, version.parent, version.job_id) == (result["version"], base, base, 7)
    assert result["version"].startswith(base + "+")
    assert result["promoted"] is (version.state == "promoted")
    assert list(places.versions.deployed()) == ([KEY] if result["promoted"] else [])
    report = version.report
    assert len(report["pictures"]) == 12
    on_project = {
        change["question"]: change["pictures"] for change in report["changes"] if change["where"] == "project"
    }
    assert on_project["all"] == on_project["click"] == 12, (
        "each picture was tested once, by a fold that had not seen it"
    )
    assert {stage for stage, *_ in told} >= {"choosing", "training fold-0", "training version", "keeping the version"}
    assert ("training version", 2, 2) in told
    model = with_delta(load_model(places.model), base, load_delta(places.files.delta(version.name)))
    assert not model.training


@pytest.mark.parametrize("at", ["training fold-1", "exam: tested-1-candidate", "keeping the version"])
def test_a_killed_job_goes_on_and_ends_the_same(places: Places, tmp_path: Path, at: str) -> None:
    whole = fine_tune_project(JOB, quietly, Places(**{**places.__dict__, "folder": tmp_path / "jobs" / "8"}))
    places.versions.deploy(KEY, None, "as before that")

    def kill(stage: str, step: int = 0, steps: int = 0) -> None:
        if stage == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune_project(JOB, kill, places)
    done = {path.name: path.stat().st_mtime_ns for path in places.folder.glob("fold-0.safetensors")}
    assert done
    again = fine_tune_project(JOB, quietly, places)
    assert again["promoted"] is whole["promoted"]
    first, second = (load_delta(places.files.delta(result["version"])) for result in (whole, again))
    assert set(first.pairs) == set(second.pairs)
    for name, tensor in first.whole.items():  # sums of several threads differ in the last bits
        torch.testing.assert_close(tensor.float(), second.whole[name].float(), atol=2e-3, rtol=0, msg=name)
    assert {name: (places.folder / name).stat().st_mtime_ns for name in done} == done, "nothing is done twice"


def test_the_next_version_goes_on_from_the_deployed_one_and_is_tested_on_what_is_new(
    places: Places, parts: Parts, tmp_path: Path
) -> None:
    first = fine_tune_project(JOB, quietly, places)["version"]
    places.versions.mark(first, "promoted")
    places.versions.deploy(KEY, first, "for the test")
    accept(parts, PictureFiles(tmp_path / "pictures"), range(20, 24))
    second = fine_tune_project(JOB, quietly, Places(**{**places.__dict__, "folder": tmp_path / "jobs" / "8"}))
    version = places.versions.get(second["version"])
    assert version is not None
    assert version.parent == first
    assert len(version.report["pictures"]) == 16
    tested = [change["pictures"] for change in version.report["changes"] if change["where"] == "project"]
    assert tested[0] == 4
    assert not second["promoted"], "four pictures are too few to tell"
    assert places.versions.deployed() == {KEY: first}


def test_a_pinned_part_is_never_learned_from(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "PINNED_FROM", 12)
    monkeypatch.setattr(folds, "PINNED_EVERY", 3)
    fine_tune_project(JOB, quietly, places)
    learned, tested = (
        {sample["sha256"] for sample in json.loads((places.folder / f"{name}.json").read_text())["samples"]}
        for name in ("learned-version", "tested-0")
    )
    assert not learned & tested
    assert len(learned) + len(tested) == 12
    assert not (places.folder / "fold-0").exists()


def test_too_little_is_said(places: Places, parts: Parts) -> None:
    parts.annotations.delete(KEY, range(1, 10), START)
    with pytest.raises(JobError, match=r"3 pictures .* at least 5 are needed; 9 left out: no annotation left"):
        fine_tune_project(JOB, quietly, places)


def test_an_unknown_project_is_said(places: Places) -> None:
    with pytest.raises(JobError, match=r"label config is not known"):
        fine_tune_project(SimpleNamespace(id=7, project_key="local/9.9"), quietly, places)  # type: ignore[arg-type]
