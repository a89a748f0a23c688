"""``models show | diff | promote | rollback | prune`` on a store with a few versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_models import small_model

from xsam_backend.learning.pruning import prune
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.model.checkpoint import model_version, save_model
from xsam_backend.model.delta import Delta, save_delta
from xsam_backend.model.folders import WEIGHTS
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.projects import ProjectKey, Projects
from xsam_backend.store.versions import Version, Versions

Run = Callable[..., tuple[int, str, str]]
PROJECT = "local/21.5"
START = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
CHANGE = {
    "where": "project",
    "question": "click",
    "pictures": 20,
    "deployed": 0.5,
    "candidate": 0.625,
    "change": {"value": 0.125, "low": 0.1, "high": None},
}
SCORES = {
    "calibration": {"slope": 0.5, "offset": -1.0},
    "found": 143,
    "right": 101,
    "error_before": 0.081,
    "error_after": 0.034,
    "sorting": 0.58,
}
BOTH = {"genseg": SCORES, "vgdseg": SCORES | {"found": 90, "right": 30, "sorting": 0.44}}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def versions(data_dir: Path) -> Iterator[Versions]:
    engine = open_database(database_url("store", data_dir), "store")
    yield Versions(engine)
    engine.dispose()


@pytest.fixture
def names(versions: Versions, data_dir: Path, tmp_path: Path) -> list[str]:
    """Three versions, the last one refused; the second answers."""
    found = []
    for number in (1, 2, 3):
        path = tmp_path / f"{number}.safetensors"
        pair = torch.ones(1, 4), torch.full((4, 1), float(number))
        save_delta(Delta("tiny-1", 1.0, {"language.x.weight": pair}, {"connector.b": torch.zeros(2)}), path)
        name = VersionFiles(data_dir / "versions").keep(path, "tiny-1")
        state = "refused" if number == 3 else "promoted"
        report: dict[str, Any] = {
            "reasons": [f"reason {number}"],
            "pictures": ["a" * 64],
            "steps": 60,
            "changes": [CHANGE],
        }
        report["scores"] = {"genseg": SCORES | {"sorting": None}} if number == 3 else BOTH if number == 2 else {}
        at = START + timedelta(hours=number)
        versions.add(Version(name, PROJECT, "tiny-1", "tiny-1", state, 7, report, at))  # type: ignore[arg-type]
        found.append(name)
    versions.deploy(PROJECT, found[0], "better")
    versions.deploy(PROJECT, found[1], "better still")
    return found


@pytest.fixture
def models(run: Run, data_dir: Path) -> Run:
    return lambda *arguments: run("models", *arguments, "--data-dir", data_dir)


def test_list_has_versions_after_models(models: Run, names: list[str]) -> None:
    status, said, _ = models("list")
    lines = [line for line in said.splitlines() if "project " in line]
    assert status == 0
    assert lines == [
        f"{names[2]}  refused  project {PROJECT}  after tiny-1  2026-11-22 15:00 UTC",
        f"{names[1]}  promoted, answers  project {PROJECT}  after tiny-1  2026-11-22 14:00 UTC",
        f"{names[0]}  promoted  project {PROJECT}  after tiny-1  2026-11-22 13:00 UTC",
    ]


def test_show_says_why_and_how_it_was_tested(models: Run, names: list[str]) -> None:
    status, said, _ = models("show", names[1])
    assert status == 0
    assert "reason 2" in said
    assert "0.500     0.625  +0.125 (+0.100 to      -)" in said
    assert "better still" in said
    assert "of 143 found by label in held-out pictures 101 were right" in said
    assert "calibration error of the scores 0.081 as they come, 0.034 calibrated" in said
    assert "of 90 found like an example in held-out pictures 30 were right" in said
    assert "sorting by score: rank correlation +0.58" in said
    assert "0.44" not in said, "predictions are of pre-labels alone"


def test_show_says_nothing_of_scores_that_nothing_is_known_of(models: Run, names: list[str]) -> None:
    assert "calibrat" not in models("show", names[0])[1]
    assert "sorting" not in models("show", names[2])[1]


def test_diff_is_the_distance_of_the_changes(models: Run, names: list[str]) -> None:
    status, said, _ = models("diff", names[0], names[1])
    assert status == 0
    assert "language             100.00%" in said, "twice the change is as far away as the change is large"


@pytest.mark.parametrize("first", [True, False])
def test_diff_with_the_base_is_the_size_of_the_changes(
    models: Run, versions: Versions, data_dir: Path, tmp_path: Path, first: bool
) -> None:
    folder = tmp_path / "base"
    save_model(small_model(), folder, torch.float32)
    base, before = model_version(folder), load_file(folder / WEIGHTS)
    matrix = next(name for name in before if name.startswith("language.") and before[name].dim() == 2)
    bias = next(name for name in before if name.startswith("connector.") and before[name].any())
    pair = torch.eye(before[matrix].shape[1]), before[matrix]
    whole = {bias: 1.25 * before[bias]}
    save_delta(Delta(base, 0.5, {matrix: pair}, whole), tmp_path / "new.safetensors", torch.float32)
    name = VersionFiles(data_dir / "versions").keep(tmp_path / "new.safetensors", base)
    versions.add(Version(name, PROJECT, base, base, "promoted", 7, {}, START))
    names = (base, name) if first else (name, base)
    status, said, problems = models("diff", *names, "--model", folder)
    assert status == 0, problems
    assert [line.split() for line in said.splitlines()[:2]] == [["connector", "25.00%"], ["language", "50.00%"]]
    assert said.splitlines()[2] == name
    status, _, problems = models("diff", base, base, "--model", folder)
    assert (status, "expected a version beside it" in problems) == (2, True)
    status, _, problems = models("diff", name, "tiny-12345678", "--model", folder)
    assert (status, "no version 'tiny-12345678'" in problems) == (1, True)


def test_list_makes_no_folder(run: Run, tmp_path: Path) -> None:
    status, said, _ = run("models", "list", "--data-dir", tmp_path / "mistyped")
    assert (status, said.startswith("tiny  ")) == (0, True)
    assert not (tmp_path / "mistyped").exists()


def test_promote_and_rollback(models: Run, names: list[str], versions: Versions) -> None:
    assert models("promote", names[2], "--reason", "I know better")[0] == 0
    assert versions.deployed() == {PROJECT: names[2]}
    for expected in (names[1], names[0], None):
        status, said, _ = models("rollback", "21")
        assert (status, versions.deployed()) == (0, {PROJECT: expected})
        assert (expected or "the base model") in said


def test_what_has_no_version_cannot_be_taken_back(models: Run, names: list[str], data_dir: Path) -> None:
    store = open_database(database_url("store", data_dir), "store")
    Projects(store).remember(OTHER)
    store.dispose()
    for spelling in ("22", "22.6", str(OTHER)):
        status, _, problems = models("rollback", spelling)
        assert (status, f"project {OTHER} has no version: the base model answers it" in problems) == (1, True)


OTHER = ProjectKey("local", 22, 6)


def test_projects_share_a_version_when_somebody_says_so(
    models: Run, names: list[str], versions: Versions, data_dir: Path
) -> None:
    """The other project goes its own way from there, and its rollback is its own."""
    engine = open_database(database_url("store", data_dir), "store")
    Projects(engine).remember(OTHER)
    engine.dispose()
    assert models("promote", names[0], "--project", "22")[0] == 0
    assert versions.deployed() == {PROJECT: names[1], str(OTHER): names[0]}
    assert models("rollback", "21")[0] == 0
    assert models("rollback", "21")[0] == 0
    assert models("prune", "--keep", 1, "--yes")[0] == 0
    assert (data_dir / "versions" / names[0]).exists(), "another project is answered by it"
    assert models("rollback", "22")[0] == 0
    assert versions.deployed() == {PROJECT: None, str(OTHER): None}


def test_nobody_shares_with_an_unknown_project(models: Run, names: list[str], versions: Versions) -> None:
    status, _, error = models("promote", names[0], "--project", "99")
    assert (status, "0 have it" in error) == (1, True), error
    assert versions.deployed() == {PROJECT: names[1]}


@pytest.mark.parametrize("project", ["21", "21.5", PROJECT])
def test_projects_are_named_by_number_or_key(models: Run, names: list[str], project: str) -> None:
    assert models("rollback", project)[0] == 0


def test_prune_ends_what_a_killed_one_has_left(
    models: Run, names: list[str], versions: Versions, data_dir: Path
) -> None:
    versions.mark(names[2], "pruned")
    status, said, _ = models("prune", "--keep", 1, "--yes")
    assert (status, said.split(":")[0]) == (0, names[2])
    assert not (data_dir / "versions" / names[2]).exists()


def test_prune_leaves_what_answers_and_what_a_rollback_leads_to(
    models: Run, names: list[str], versions: Versions, data_dir: Path
) -> None:
    status, said, _ = models("prune", "--keep", 1)
    assert (status, f"{names[2]}: " in said, "with --yes" in said) == (0, True, True)
    assert sorted(path.name for path in (data_dir / "versions").iterdir()) == sorted(names)
    status, said, _ = models("prune", "--keep", 1, "--yes")
    assert status == 0
    assert [line.split(":")[0] for line in said.splitlines()] == [names[2]]
    assert sorted(path.name for path in (data_dir / "versions").iterdir()) == sorted(names[:2])
    status, _, error = models("promote", names[2])
    assert (status, "has no files" in error) == (1, True)
    assert models("show", names[2])[0] == 0, "its report stays"
    assert models("prune", "--keep", 1, "--yes")[1] == "", "nothing left to prune"


def test_after_a_job_refused_ones_are_kept_as_well(names: list[str], versions: Versions, data_dir: Path) -> None:
    files = VersionFiles(data_dir / "versions")
    assert list(prune(versions, files, 1, refused=1, project_key=PROJECT)) == []
    assert list(prune(versions, files, 1, project_key="local/1.1")) == [], "another project's are not its business"
    assert [name for name, _ in prune(versions, files, 1, project_key=PROJECT)] == [names[2]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["show", "tiny-1+00000000"], "no version", id="unknown"),
        pytest.param(["rollback", "99"], "0 have it", id="an unknown project"),
        pytest.param(["promote", "../../etc"], "no version", id="a path"),
    ],
)
def test_what_is_not_there_is_said(models: Run, names: list[str], arguments: list[str], words: str) -> None:
    status, _, error = models(*arguments)
    assert (status, words in error) == (1, True), error
