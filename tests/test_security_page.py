"""``docs/security.md``: each attack has a defence and a test, and the test exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

THREATS = (
    "A hostile picture",
    "Hostile task data",
    "A hostile label config",
    "A hostile annotator",
    "A stolen log, database or model file",
    "A hostile data set or training config",
    "A neighbour on the network",
)


def rows(section: str) -> list[list[str]]:
    """The cells of the table in a section, without its head."""
    (text,) = re.findall(rf"^## {section}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def functions_of(file: Path) -> set[str]:
    """Names of a file's test functions, those of its classes as ``Class::test``."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("threat", THREATS)
def test_every_attack_has_a_defence_and_a_test_that_exists(threat: str) -> None:
    table = rows(threat)
    assert len(table) >= 4
    for row in table:
        assert len(row) == 3, row
        assert all(row), row
        named = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", row[2])
        assert named, row
        for file, name in named:
            assert name in functions_of(ROOT / file), f"{file}::{name}"


def test_modules_that_are_named_exist() -> None:
    for name in set(re.findall(r"`((?:labelstudio|server)/\w+\.py)`", PAGE)):
        assert (ROOT / "xsam_backend" / name).is_file(), name
