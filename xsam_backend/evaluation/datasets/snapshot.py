"""What a fine-tuning learned from, or was tested on: chosen annotations with their kept pictures, fixed in a file.

One JSON object: ``xsam_backend_snapshot`` (version of the format, 1), ``project`` (its key), ``label_config`` (XML),
``pictures`` (folder of the kept pictures, each under the first two digits of its hash; from the file's folder unless
absolute), ``emphasis`` (weight by origin: drawn, corrected, accepted) and ``samples``, each with ``task``,
``annotation`` (null: the task was skipped), ``to_name`` and ``item_index`` (null: all regions are on this picture),
``sha256``, ``result`` (Label Studio's regions), ``origins`` (by region id), ``refused`` (labels of ours that the
annotator threw out) and ``complete`` (false: not all of what was drawn could be read).

Annotators are taken to have labelled every object of the config's labels. A picture with a label that the config
hasn't (any more, where it was renamed) was labelled by another config: of that, only the labels on it are known to be
complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import DatasetError, ImageError
from xsam_backend.evaluation.datasets.label_studio import caption_controls, project_categories, rest_labels
from xsam_backend.evaluation.datasets.label_studio_pictures import TaskPicture
from xsam_backend.evaluation.datasets.label_studio_record import UNLABELLED, LabelStudioRecord
from xsam_backend.evaluation.datasets.reading import in_format
from xsam_backend.evaluation.datasets.records import Dataset, Wanted
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.labelstudio.decoding import decode_image
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.prompts import Region, Task

SNAPSHOT = "xsam_backend_snapshot"
VERSION = 1

_MAX_PIXELS = 2**28
"""Kept pictures went through the service's own limit when they were copied."""


@dataclass(frozen=True)
class SnapshotRecord:
    """One picture of a snapshot. ``weight``: how much more often than others it is drawn in training."""

    inner: LabelStudioRecord
    weight: float

    @property
    def source(self) -> str:
        """The task, and which of its pictures."""
        return self.inner.source

    @property
    def split(self) -> str:
        """None: a snapshot is one part."""
        return ""

    def regions(self) -> tuple[Region, ...]:
        """None: prompts are simulated."""
        return ()

    def load(self) -> GroundTruth:
        """Reads the kept picture and draws the accepted regions.

        Raises:
            DatasetError: the picture is gone or damaged, or a region is.
        """
        return self.inner.load()


def open_snapshot(wanted: Wanted) -> Dataset:
    """A snapshot as a data set.

    Raises:
        DatasetError: not such a file, or one without samples.
    """
    content: Any = wanted.content
    with in_format(wanted.path, f"a snapshot (an object with {SNAPSHOT}: {VERSION})"):
        if content[SNAPSHOT] != VERSION:
            raise DatasetError(
                f"{wanted.path}: format {content[SNAPSHOT]}, this version reads {VERSION}: update this package"
            )
        config = LabelConfig.parse(content["label_config"])
        samples = content["samples"]
        categories = project_categories(config, [sample["result"] for sample in samples])
        names = frozenset(category.label for category in categories)
        in_config = frozenset(category.label for category in project_categories(config, ())) | {UNLABELLED}
        stuff = frozenset(category.label for category in categories if not category.is_thing)
        folder = wanted.path.parent / content["pictures"]
        records = tuple(
            _record(sample, content["emphasis"], names & in_config, stuff, config, folder) for sample in samples
        )
        has_phrases = any(one.get("type") == "textarea" for sample in samples for one in sample["result"])
        project = str(content["project"])
    if not records:
        raise DatasetError(f"{wanted.path}: expected samples, got none")
    return Dataset(
        name=f"Label Studio, project {project}",
        format="snapshot",
        split="",
        categories=categories,
        tasks=(Task.GENERIC, Task.VGD, Task.INTERACTIVE, *((Task.REFERRING,) if has_phrases else ())),
        labelling="instances",
        records=records,
    )


def _record(
    sample: Mapping[str, Any],
    weights: Mapping[str, float],
    in_config: frozenset[str],
    stuff: frozenset[str],
    config: LabelConfig,
    folder: Path,
) -> SnapshotRecord:
    emphasis = {number: float(weights[origin]) for number, origin in sample["origins"].items()}
    place = "" if sample["item_index"] is None else f", {sample['item_index']}"
    tag = "" if sample["to_name"] is None else f" ({sample['to_name']})"
    inner = LabelStudioRecord(
        source=f"task {sample['task']}{place}{tag}",
        task_id=sample["task"],
        picture=TaskPicture(sample["sha256"], sample["to_name"], sample["item_index"]),
        complete_for=_complete_for(sample, in_config, rest_labels(config)),
        stuff=stuff,
        emphasis=emphasis,
        _result=sample["result"],
        _captions_from=caption_controls(config),
        _rest=rest_labels(config),
        _fetch=lambda sha256, _task: _read(folder, sha256),
    )
    return SnapshotRecord(inner, max(emphasis.values(), default=1.0))


def _complete_for(sample: Mapping[str, Any], in_config: frozenset[str], rest: frozenset[str]) -> frozenset[str]:
    if sample["annotation"] is None:  # of a skipped task we only know what wasn't wanted
        return frozenset(sample["refused"]) & in_config
    if not sample.get("complete", True):
        return frozenset()
    on_it = frozenset(category.label for category in project_categories(None, [sample["result"]])) - rest
    return in_config if on_it <= in_config else on_it


def _read(folder: Path, sha256: object) -> NDArray[np.uint8]:
    if not isinstance(sha256, str) or not (sha256.isascii() and sha256.isalnum()):
        raise ImageError(f"expected a sample's sha256 in hex digits, got {str(sha256)[:80]!r}")
    path = folder / sha256[:2] / sha256
    try:
        return decode_image(path.read_bytes(), max_pixels=_MAX_PIXELS)[0]
    except (OSError, ImageError) as error:
        raise ImageError(f"{path}: the kept picture can't be read ({error})") from error
