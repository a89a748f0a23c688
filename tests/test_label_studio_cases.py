"""``docs/label-studio-cases.md`` has every recorded case once, each with a test that there is."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests" / "recorded" / "label_studio"
SHARED = ROOT.parent / "shared" / "label-studio" / "results"
PAGE = (ROOT / "docs" / "label-studio-cases.md").read_text(encoding="utf-8")

TABLES = {
    "Shapes of a prediction": (RECORDED / "result_variants.json", "rows", SHARED / "variants.json", 76),
    "Faults of a backend": (RECORDED / "backend_fault_cases.json", "cases", SHARED / "backend_faults.json", 56),
}
"""Section -> our copy of its cases' names, the key they are under, the recordings themselves, how many."""


def rows(section: str) -> list[list[str]]:
    """The cells of the table in a section, without its head."""
    (text,) = re.findall(rf"^## {section}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def names(file: Path, key: str) -> list[str]:
    cases: Any = json.loads(file.read_text(encoding="utf-8"))[key]
    return list(cases)


@pytest.mark.parametrize("section", TABLES)
def test_every_case_has_one_row(section: str) -> None:
    file, key, _, count = TABLES[section]
    expected = names(file, key)
    assert len(expected) == count
    assert sorted(row[0].strip("`") for row in rows(section)) == sorted(expected)
    assert all(len(row) == 5 and all(row) for row in rows(section)), "a cell is empty"


@pytest.mark.parametrize("section", TABLES)
def test_our_copy_has_the_recordings_names(section: str) -> None:
    file, key, shared, _ = TABLES[section]
    if not shared.is_file():
        pytest.skip("needs ../shared/label-studio beside the repository")
    assert names(file, key) == names(shared, key)


def functions(file: Path) -> set[str]:
    """Names of the test functions of a file, at its top."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("section", [*TABLES, "What is lost on the way"])
def test_every_named_test_is_there(section: str) -> None:
    named = [re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[-1]) for row in rows(section)]
    assert all(named), "a row without a test"
    missing = [f"{file}::{name}" for tests in named for file, name in tests if name not in functions(ROOT / file)]
    assert missing == []


def test_every_tag_has_its_loss() -> None:
    tags = " ".join(row[0] for row in rows("What is lost on the way"))
    for tag in ("0.98", 'iou="1"', "Brush", "Bitmask", "Rectangle", 'rotated="true"', "Ellipse", "Keypoint"):
        assert tag in tags


def test_what_is_called_written_is_what_has_no_mark() -> None:
    """The page's third column, against the lists that the property's test keeps."""
    tree = ast.parse((ROOT / "tests/labelstudio/test_result_cases.py").read_text(encoding="utf-8"))
    lists = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("WRITTEN", "MARKS")
    }
    for case, _, written, *_ in rows("Shapes of a prediction"):
        if case.strip("`") != "bitmask_rgba_black_alpha":  # looks the same as ours, and is not
            assert (case.strip("`") in lists["WRITTEN"]) == (written == "yes"), case
