"""Writing down what a fine-tuning learns from: a file that ``train`` and ``evaluate`` read like any data set."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xsam_backend.errors import PromptError
from xsam_backend.evaluation.datasets.label_studio_record import is_object
from xsam_backend.evaluation.datasets.snapshot import SNAPSHOT, VERSION
from xsam_backend.labelstudio.regions import read_region
from xsam_backend.learning.choosing import Choice, Origin
from xsam_backend.whole_files import write_whole

EMPHASIS: Mapping[Origin, float] = {"corrected": 3.0, "drawn": 2.0, "accepted": 1.0}
"""How often segments are asked about, by where they came from: what the model got wrong teaches most."""


@dataclass(frozen=True)
class Written:
    """A snapshot on disk.

    Attributes:
        path: the file.
        sha256: of its content: the same samples have the same.
        damaged: why regions were left out, one sentence each.
    """

    path: Path
    sha256: str
    damaged: tuple[str, ...]


def write_snapshot(
    path: Path,
    choices: Sequence[Choice],
    *,
    project_key: str,
    label_config: str,
    pictures: Path,
    emphasis: Mapping[Origin, float] = EMPHASIS,
) -> Written:
    """Write the choices to a file, whole or not at all. Regions that can't be read are left out, and told; their
    pictures don't tell what isn't there.

    Args:
        pictures: the folder of the kept pictures.
        emphasis: weights by origin.

    Raises:
        OSError: it can't be written.
    """
    damaged: list[str] = []
    content: dict[str, Any] = {
        SNAPSHOT: VERSION,
        "project": project_key,
        "label_config": label_config,
        "pictures": os.path.relpath(pictures, path.parent),
        "emphasis": dict(emphasis),
        "samples": [_sample(choice, damaged) for choice in choices],
    }
    encoded = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    write_whole(path, encoded)
    return Written(path, hashlib.sha256(encoded).hexdigest(), tuple(damaged))


def _sample(choice: Choice, damaged: list[str]) -> dict[str, Any]:
    assert choice.picture.size_hw is not None
    result = []
    for region in choice.result:
        try:
            if is_object(region):
                read_region(region, choice.picture.size_hw)
        except PromptError as error:
            damaged.append(f"task {choice.task_id}: {error}")
            continue
        result.append(dict(region))
    left = {str(region.get("id")) for region in result}
    return {
        "task": choice.task_id,
        "annotation": choice.annotation_id,
        "to_name": None if choice.is_alone else choice.picture.to_name,
        "item_index": None if choice.is_alone else choice.picture.item_index,
        "sha256": choice.picture.sha256,
        "result": result,
        "origins": {number: origin for number, origin in choice.origins.items() if number in left},
        "refused": list(choice.refused),
        "complete": len(result) == len(choice.result),
    }
