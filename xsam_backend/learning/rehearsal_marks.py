"""The shipped model's marks on the rehearsal come with the package: each job needs them, and they never change.

``tests/learning/test_rehearsal_marks.py`` compares some of them with what the model gets now, and writes them anew.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from xsam_backend.learning.exam import Marks
from xsam_backend.learning.rehearsal import SCENES

SHIPPED_MARKS = Path(str(files("xsam_backend.learning"))) / "rehearsal_marks"


def shipped_marks(model_version: str, scenes: int) -> Marks | None:
    """A model's marks on so many scenes, if they come with the package."""
    path = marks_file(model_version)
    if scenes != SCENES or not path.is_file():
        return None
    return Marks.from_json(json.loads(path.read_text(encoding="utf-8")))


def marks_file(model_version: str) -> Path:
    """Where they are, or would be."""
    return SHIPPED_MARKS / f"{model_version}.json"
