"""``doctor --label-config`` on good and bad label configs: what it prints stands beside each as a text.

``UPDATE_DOCS=1`` writes the texts anew, and the two that docs/doctor.md shows.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "examined_configs"
PAGE = ROOT / "docs" / "doctor.md"

CONFIGS = [
    ("good", 0, "clicks, boxes and words in, polygons out"),
    ("two-outputs", 0, "a label that the best output lacks goes to the next; an ellipse gets nothing"),
    ("renamed", 0, "an output takes other labels by their words, and has a threshold of its own"),
    ("labels-beside-plain-tags", 0, "Labels stand beside plain tags"),
    ("two-labels-tags", 0, "what is drawn with a plain tag may have the labels of both"),
    ("plain-tags", 0, "without labels, so nothing can be looked for before"),
    ("labels-of-the-task", 0, "labels come with each task"),
    ("nothing-asks", 0, "polygons alone never prompt"),
    ("smart-polygon", 0, "a polygon is told to prompt, and a keypoint tool is hidden"),
    ("smart-brush", 1, "a brush is told to prompt: Label Studio sends nothing of it"),
    ("keypoint-alone", 0, "clicks would come back as keypoints"),
    ("label-nowhere", 1, "a label can be clicked that no output has, and the other way round"),
    ("text-without-output", 1, "words ask and nothing takes the answer"),
    ("forbidden-output", 1, "the only output is forbidden to be one"),
    ("misspelt", 1, "options and toName are misspelt"),
    ("impossible-values", 1, "options say what cannot be"),
    ("no-image", 1, "tags draw on a picture that isn't there"),
    ("image-reads-a-word", 1, "the dollar sign is missing"),
    ("task-of-another-gesture", 1, "a click cannot ask for everything, nor a text for what looks like it"),
    ("box-asks-and-is-answered", 0, "one tag asks by example, is answered, and is pre-labelled by example"),
    ("conversation-without-answer", 1, "the answer in words has nowhere to go"),
    ("two-prompts-for-one-caption", 0, "the caption's text area asks itself"),
    ("text-on-text", 1, "text areas on another tag than a picture"),
    ("text-of-each-region", 1, "perRegion text is never sent"),
    ("reason-that-asks", 0, "the text area for reasons asks itself"),
    ("one-name-twice", 1, "two tags have one name"),
    ("several-pictures", 1, "one picture without an output, one without any tag"),
    ("words-of-a-tool", 0, "predicted_values stand where nobody reads them; vectors are not ours"),
    ("background", 0, "a background is written where a picture is shared out, and only one"),
    ("not-xml", 1, "a tag is not closed"),
    ("hostile", 1, "entities are refused"),
]


def agree(file: Path, expected: str, printed: str, whole: str | None = None) -> None:
    """Compare, or write ``whole`` (what is printed, without one) into the file."""
    if os.environ.get("UPDATE_DOCS"):
        file.write_text(printed if whole is None else whole, "utf-8")
    else:
        assert expected == printed, f"what doctor prints has changed: UPDATE_DOCS=1 writes it into {file.name}"


@pytest.mark.parametrize(("name", "status", "reason"), CONFIGS, ids=[row[0] for row in CONFIGS])
def test_what_is_told(run: Any, name: str, status: int, reason: str) -> None:
    got, printed, _ = run("doctor", "--label-config", FOLDER / f"{name}.xml")
    assert got == status, reason
    assert ("FAIL" in printed) is (status == 1)
    text = FOLDER / f"{name}.txt"
    agree(text, text.read_text("utf-8") if text.exists() else "", printed)


def test_every_config_has_its_row() -> None:
    for kind in ("xml", "txt"):
        assert sorted(file.stem for file in FOLDER.glob(f"*.{kind}")) == sorted(row[0] for row in CONFIGS)


@pytest.mark.parametrize(
    ("title", "file"),
    [
        ("A label config that works", ROOT / "label_configs" / "polygon.xml"),
        ("A label config with mistakes", FOLDER / "label-nowhere.xml"),
    ],
    ids=["works", "mistakes"],
)
def test_the_page_shows_what_is_printed(run: Any, title: str, file: Path) -> None:
    printed = run("doctor", "--label-config", file)[1]
    page = PAGE.read_text("utf-8")
    section = re.search(rf"^## {title}\n(?:(?!## ).*\n)*?```text\n((?:(?!```).*\n)*)```\n", page, re.MULTILINE)
    assert section, f"docs/doctor.md has no section '{title}' with a ```text block"
    assert file.name in section[0], "which file it is"
    agree(PAGE, section[1], printed, page[: section.start(1)] + printed + page[section.end(1) :])


def test_nothing_else_is_looked_at(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings that are wrong don't matter, and no data folder is made."""
    monkeypatch.setenv("XSAM_BACKEND_PORT", "none")
    monkeypatch.setenv("XSAM_BACKEND_DATA_DIR", str(tmp_path / "data"))
    status, printed, _ = run("doctor", "--label-config", FOLDER / "good.xml")
    assert status == 0
    assert "versions" not in printed
    assert not (tmp_path / "data").exists()


def test_a_file_or_a_project(run: Any) -> None:
    status, _, err = run("doctor", "--label-config", FOLDER / "good.xml", "--project", "7")
    assert status == 2
    assert "--project tells about the project's own one" in err


def test_a_file_in_another_encoding(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "latin.xml"
    file.write_bytes('<View><Image name="image" value="$Bögen"/></View>'.encode("latin-1"))
    status, _, err = run("doctor", "--label-config", file)
    assert status == 1
    assert "expected a label config in UTF-8" in err
    file.write_bytes((FOLDER / "good.xml").read_text("utf-8").encode("utf-8-sig"))
    assert run("doctor", "--label-config", file)[0] == 0
