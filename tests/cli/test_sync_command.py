"""``sync`` with an export, without a Label Studio; with one, see ``tests/e2e/test_collecting.py``."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.projects import ProjectKey, Projects

Run = Callable[..., tuple[int, str, str]]
CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="poly" toName="image"><Label value="cat"/></PolygonLabels></View>"""
KEY = ProjectKey("local", 21, 1795347497)


def picture() -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def exported(number: int, image: str) -> dict[str, Any]:
    annotation = {
        "id": 100 + number,
        "result": [],
        "updated_at": "2026-11-22T11:38:21.068017Z",
        "completed_by": {"id": 1},
    }
    return {"id": number, "data": {"image": image}, "annotations": [annotation]}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([exported(1, picture()), exported(2, "/somewhere/else.png")]))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.xml"
    path.write_text(CONFIG)
    return path


def test_an_export_and_its_pictures_are_kept(run: Run, export: Path, config: Path, tmp_path: Path) -> None:
    arguments = ("sync", "--export", export, "--uid", "21.1795347497", "--label-config", config)
    status, said, problems = run(*arguments, "--data-dir", tmp_path / "d")
    assert (status, said.splitlines()) == (
        0,
        [
            "project local/21.1795347497: 2 tasks, 2 annotations new or changed",
            "pictures of 1 tasks copied, 1 tasks lack some",
        ],
    )
    assert "task 2: /somewhere/else.png" in problems
    engine = open_database(database_url("store", tmp_path / "d"), "store")
    assert Annotations(engine).count() == {str(KEY): {"accepted": 2}}
    engine.dispose()
    # From now on the project and its config are known.
    status, said, _ = run("sync", "--export", export, "--uid", "21", "--data-dir", tmp_path / "d")
    assert (status, said.splitlines()[0]) == (
        0,
        "project local/21.1795347497: 2 tasks, 0 annotations new or changed",
    )


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        pytest.param(["--uid", "21"], "belong to --export", 2, id="a uid alone"),
        pytest.param(["--export", "EXPORT"], "name it by --uid", 2, id="an export of which project?"),
        pytest.param(["--export", "EXPORT", "--uid", "21"], "number of one known project", 1, id="unknown number"),
        pytest.param(["--export", "EXPORT", "--uid", "21.5"], "--label-config FILE", 1, id="unknown config"),
        pytest.param(["--export", "EXPORT", "--uid", "x.5"], "<id>.<creation second>", 1, id="no uid"),
        pytest.param([], "label_studio_url and label_studio_token", 1, id="nobody to ask"),
    ],
)
def test_what_is_missing_is_said(
    run: Run, export: Path, tmp_path: Path, arguments: list[str], words: str, status: int
) -> None:
    given = [str(export) if one == "EXPORT" else one for one in arguments]
    found, _, error = run("sync", *given, "--data-dir", tmp_path / "d")
    assert (found, words in error) == (status, True), error


@pytest.mark.parametrize("content", ["{}", "[1]", "no json", '[{"id": 1, "annotations": [{"id": 2}]}]'])
def test_what_is_no_export_is_said(run: Run, config: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    status, _, error = run(
        "sync", "--export", path, "--uid", "21.5", "--label-config", config, "--data-dir", tmp_path / "d"
    )
    assert status == 1
    assert error.startswith("error: ")


def test_two_projects_of_one_number_are_told_apart(run: Run, export: Path, tmp_path: Path) -> None:
    engine = open_database(database_url("store", tmp_path / "d"), "store")
    for created_s in (5, 6):
        Projects(engine).remember(ProjectKey("local", 21, created_s), label_config=CONFIG)
    engine.dispose()
    status, _, error = run("sync", "--export", export, "--uid", "21", "--data-dir", tmp_path / "d")
    assert (status, "2 have it" in error) == (1, True)
