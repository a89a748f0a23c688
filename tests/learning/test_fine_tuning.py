"""One job from accepted annotations to a version, with a small model and a few steps: what it leaves, and a kill."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
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
from xsam_backend.learning import candidates, fine_tuning, folds, rehearsed_photographs
from xsam_backend.learning.candidates import Base
from xsam_backend.learning.exam import Marks
from xsam_backend.learning.fine_tuning import MARKS, fine_tune_project
from xsam_backend.learning.gate import Verdict
from xsam_backend.learning.places import Places
from xsam_backend.learning.plan import learned_by
from xsam_backend.learning.recipe import SHARE_OF_THE_WAY, share_of_the_way
from xsam_backend.learning.rehearsed_photographs import PHOTOGRAPHS
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.model.checkpoint import load_model, model_version, save_model
from xsam_backend.model.delta import load_delta, with_delta
from xsam_backend.model.folders import SHIPPED
from xsam_backend.model.predictor import DEFAULT_THRESHOLDS
from xsam_backend.model.score_calibration import Calibration
from xsam_backend.prompts import Task
from xsam_backend.store.annotations import KeptAnnotation
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.projects import ProjectKey
from xsam_backend.store.tasks import TaskPicture
from xsam_backend.store.versions import Version, Versions

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


@pytest.fixture(autouse=True)
def one_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others teach the same and take time."""
    monkeypatch.setattr(rehearsed_photographs, "photographs", lambda: (PHOTOGRAPHS / "coffee.jpg",))
    monkeypatch.setattr(rehearsed_photographs, "CLICKS_ACROSS", 2)


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
    assert report["labels"] == ["cat", "dog"], "the legend of the pictures"
    assert 100 < report["peak_mb"] < 100_000
    on_project = {
        change["question"]: change["pictures"] for change in report["changes"] if change["where"] == "project"
    }
    assert on_project["all"] == on_project["click"] == 12, (
        "each picture was tested once, by a fold that had not seen it"
    )
    assert {stage for stage, *_ in told} >= {"choosing", "training fold-0", "training version", "keeping the version"}
    assert ("training fold-0", 1, 1) in told
    assert [stage for stage in told if stage[0] == "training version"][-1] == ("training version", 2, 2)
    assert ("training version", 1, 2) not in told, "it goes on where the first fold ended"
    assert {file.parents[1].name for file in places.folder.glob("*/tensorboard/events*")} >= {"version", "fold-0"}
    delta = load_delta(places.files.delta(version.name))
    model = with_delta(load_model(places.model), base, delta)
    assert not model.training
    assert set(delta.typical_sizes) == {"cat"}
    assert 0 < delta.typical_sizes["cat"] < 1


@pytest.mark.parametrize("four_bits", [False, True])
def test_a_large_base_stays_as_short_as_it_is_stored(places: Places, four_bits: bool) -> None:
    """The version's own numbers are trained in float32, and it can be served with the base as it is."""
    if four_bits:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install '.[four-bits]'")
    save_model(small_model(), Path(places.model), torch.bfloat16)
    result = fine_tune_project(JOB, quietly, replace(places, four_bits=four_bits))
    version = places.versions.get(result["version"])
    assert version is not None
    delta = load_delta(places.files.delta(version.name))
    assert any(name.startswith("language.") for name in delta.pairs)
    assert any(second.any() for _, second in delta.pairs.values()), "something was learned"
    base = load_model(places.model)
    with_delta(base, version.base, delta)
    before = dict(base.state_dict())
    moved = [(tensor.float() - before[name]).abs().max() for name, tensor in delta.whole.items()]
    assert 0 < float(max(moved)) < 0.1


def test_a_training_leaves_the_base_as_it_was(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold the same tensors, but for what is trained."""
    loaded: list[Base] = []
    load = Base.load

    def kept(places: Places) -> Base:
        loaded.append(load(places))
        return loaded[-1]

    monkeypatch.setattr(Base, "load", kept)
    fine_tune_project(JOB, quietly, places)
    expected = load_model(places.model).state_dict()
    found = loaded[0].predictor_of_base.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_version_lies_part_of_the_way_from_what_it_began_with(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "share_of_the_way", lambda _name: 0.0)
    result = fine_tune_project(JOB, lambda *_: None, places)
    delta = load_delta(places.files.delta(result["version"]))
    base = dict(load_model(places.model).named_parameters())
    for name, tensor in delta.whole.items():
        torch.testing.assert_close(tensor.float(), base[name].float(), atol=1e-2, rtol=1e-2)
    assert all(not second.any() for _, second in delta.pairs.values())


def test_only_the_language_model_goes_all_the_way(places: Places) -> None:
    """By the names that a version's changes have."""
    delta = load_delta(places.files.delta(fine_tune_project(JOB, quietly, places)["version"]))
    shares = {name: share_of_the_way(name) for name in (*delta.pairs, *delta.whole)}
    whole = {name for name, share in shares.items() if share == 1.0}
    assert whole == {name for name in shares if name.startswith("language.")} != set()
    assert {shares[name] for name in shares.keys() - whole} == {SHARE_OF_THE_WAY}


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
    monkeypatch.setattr(folds, "MIN_PICTURES", 1)
    fine_tune_project(JOB, quietly, places)
    learned, tested = (
        {sample["sha256"] for sample in json.loads((places.folder / f"{name}.json").read_text())["samples"]}
        for name in ("learned-version", "tested-0")
    )
    assert not learned & tested
    assert len(learned) + len(tested) == 12
    assert not (places.folder / "fold-0").exists()


def test_a_killed_job_keeps_its_plan_whatever_comes_meanwhile(places: Places, parts: Parts, tmp_path: Path) -> None:
    """Otherwise a fold that was trained before the kill might be tested on what it has learned from."""

    def kill(stage: str, step: int = 0, steps: int = 0) -> None:
        if stage == "training fold-1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune_project(JOB, kill, places)
    accept(parts, PictureFiles(tmp_path / "pictures"), range(20, 31))
    parts.annotations.delete(KEY, [1, 2], START)
    parts.projects.remember(ProjectKey.parse(KEY), label_config=CONFIG.replace("cat", "lion"))
    name = fine_tune_project(JOB, quietly, places)["version"]
    version = places.versions.get(name)
    assert version is not None
    assert len(version.report["pictures"]) == 12
    assert version.report["changes"][0]["pictures"] == 12
    for fold in (0, 1):
        learned, tested = (
            {sample["sha256"] for sample in json.loads((places.folder / f"{kind}.json").read_text())["samples"]}
            for kind in (f"learned-fold-{fold}", f"tested-{fold}")
        )
        assert not learned & tested
    assert not list(places.folder.rglob("state.safetensors")), "states are large, and of no more use"


def test_scores_are_calibrated_on_what_was_found_in_held_out_pictures(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The small model has learned nothing: whatever it finds is wrong, and its version knows."""
    for task in (Task.GENERIC, Task.VGD):
        monkeypatch.setitem(DEFAULT_THRESHOLDS, task, 0.0)
    version = places.versions.get(fine_tune_project(JOB, quietly, places)["version"])
    assert version is not None
    delta = load_delta(places.files.delta(version.name))
    marks = Marks.from_json(json.loads((places.folder / f"{MARKS}-tested-0-candidate.json").read_text()))
    for task, question in ((Task.GENERIC, "labels"), (Task.VGD, "alike")):
        told, calibration, found = version.report["scores"][task], delta.calibrations[task], marks.found[question]
        assert told["found"] >= 12
        assert told["right"] < told["found"] / 2
        assert told["error_after"] < told["error_before"]
        assert calibration == Calibration(**told["calibration"])
        raw = found.scores.astype(np.float32)
        assert abs(calibration(raw).mean() - found.right.mean()) < abs(raw.mean() - found.right.mean())
    assert delta.calibrations[Task.GENERIC] != delta.calibrations[Task.VGD]


def passes(*_marks: Any) -> Verdict:
    return Verdict(True, ("for the test",), ())


@pytest.mark.parametrize("meanwhile", [False, True])
def test_nothing_takes_the_place_of_what_it_was_not_measured_beside(
    places: Places, monkeypatch: pytest.MonkeyPatch, meanwhile: bool
) -> None:
    """As after a rollback, or a promotion by hand, while the job ran."""
    monkeypatch.setattr(fine_tuning, "judge", passes)
    by_hand = Version("x+00000000", KEY, "x", "x", "refused", None, {"pictures": []})

    def promote(stage: str, step: int = 0, steps: int = 0) -> None:
        if meanwhile and stage == "keeping the version":
            places.versions.add(by_hand)
            places.versions.deploy(KEY, by_hand.name, "by hand")

    result = fine_tune_project(JOB, promote, places)
    version = places.versions.get(result["version"])
    assert version is not None
    if meanwhile:
        assert not result["promoted"]
        assert "measured beside the base model, and x+00000000 was deployed meanwhile" in result["reasons"][0]
    assert version.state == ("refused" if meanwhile else "promoted")
    assert places.versions.deployed() == {KEY: by_hand.name if meanwhile else version.name}


def test_a_job_that_is_killed_after_its_promotion_says_so_again(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine_tuning, "judge", passes)
    first = fine_tune_project(JOB, quietly, places)
    assert first["promoted"]
    assert fine_tune_project(JOB, quietly, places) == first, "it isn't its own parent"
    assert len(places.versions.history(KEY)) == 1


def test_old_versions_files_go_after_a_job(places: Places, tmp_path: Path) -> None:
    """Also what a refused one leaves, beyond the newest that are kept; the job's own stays."""
    old = tmp_path / "versions" / "x+00000000"
    for number, name in enumerate(("x+00000000", "x+00000001")):
        at = datetime(2026, 1, 1 + number, tzinfo=timezone.utc)
        places.versions.add(Version(name, KEY, "x", "x", "refused", None, {"pictures": []}, at))
    old.mkdir(parents=True)
    (old / "delta.safetensors").write_bytes(b"0")
    result = fine_tune_project(JOB, quietly, replace(places, kept=1))
    assert not old.exists()
    assert places.files.delta(result["version"]).is_file()


def test_what_cannot_be_deleted_fails_no_job(
    places: Places, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_given: object, **_options: object) -> list[tuple[str, int]]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fine_tuning, "prune", failing)
    assert fine_tune_project(JOB, quietly, places)["version"]
    assert "old versions could not be pruned" in caplog.text


def test_a_version_of_another_base_is_no_beginning(places: Places) -> None:
    places.versions.add(Version("old+00000000", KEY, "old", "old", "promoted", None, {"pictures": ["a" * 64]}))
    places.versions.deploy(KEY, "old+00000000", "long ago")
    name = fine_tune_project(JOB, quietly, places)["version"]
    version = places.versions.get(name)
    assert version is not None
    assert version.parent == version.base == model_version(places.model)


def test_what_was_learned_from_is_known_over_all_generations(places: Places) -> None:
    base = "tiny-1"
    for name, parent, pictures in (("a", base, ["1", "2"]), ("b", "a", ["3"]), ("c", "b", ["4"]), ("d", "a", ["5"])):
        places.versions.add(Version(name, KEY, base, parent, "promoted", None, {"pictures": pictures}))
    assert learned_by("c", places.versions) == {"1", "2", "3", "4"}
    assert learned_by("d", places.versions) == {"1", "2", "5"}
    assert learned_by(None, places.versions) == learned_by("unheard of", places.versions) == frozenset()


def test_a_picture_that_is_gone_costs_no_other(places: Places, tmp_path: Path) -> None:
    gone = next(path for path in (tmp_path / "pictures").rglob("*") if path.is_file())
    gone.unlink()
    version = places.versions.get(fine_tune_project(JOB, quietly, places)["version"])
    assert version is not None
    assert gone.name not in version.report["pictures"]
    assert len(version.report["pictures"]) == 11
    (reason,) = version.report["left_out"]
    assert "its kept picture is gone" in reason


def test_pictures_without_objects_are_not_enough(places: Places, parts: Parts) -> None:
    at = START + timedelta(days=1)
    parts.annotations.keep([KeptAnnotation(KEY, n, n, "accepted", at, 1, False, ()) for n in range(1, 10)])
    with pytest.raises(JobError, match=r"3 pictures with accepted objects, at least 5"):
        fine_tune_project(JOB, quietly, places)


def test_one_picture_in_many_tasks_is_not_enough(places: Places, parts: Parts, tmp_path: Path) -> None:
    parts.tasks.delete(KEY, range(1, 13))
    sha256 = PictureFiles(tmp_path / "pictures").put(encoded(1))
    for number in range(30, 50):
        parts.tasks.know(KEY, number, [TaskPicture("image", None, None, sha256, (48, 64))])
        parts.annotations.keep([KeptAnnotation(KEY, number, number, "accepted", START, 1, False, (polygon("r"),))])
    with pytest.raises(JobError, match=r"1 pictures with accepted objects"):
        fine_tune_project(JOB, quietly, places)


def test_too_little_is_said(places: Places, parts: Parts) -> None:
    parts.annotations.delete(KEY, range(1, 10), START)
    with pytest.raises(JobError, match=r"3 pictures .* at least 5 are needed; 9 left out: no annotation left"):
        fine_tune_project(JOB, quietly, places)


def test_a_label_config_that_anybody_may_have_sent_is_not_learned_with(places: Places) -> None:
    places.projects.hear_of(ProjectKey.parse("labels.example/9.9"), CONFIG)
    with pytest.raises(
        JobError, match=r"comes from a setup request, which anybody can send: run `xsam-backend sync`"
    ):
        fine_tune_project(SimpleNamespace(id=7, project_key="labels.example/9.9", tries=1), quietly, places)  # type: ignore[arg-type]


def test_an_unknown_project_is_said(places: Places) -> None:
    with pytest.raises(JobError, match=r"label config is not known"):
        fine_tune_project(SimpleNamespace(id=7, project_key="local/9.9"), quietly, places)  # type: ignore[arg-type]
