"""ReasonSeg, LISA's benchmark of reasoning segmentation: a JSON beside each picture.

    <split>/<name>.jpg, <split>/<name>.json: text (questions), is_sentence, shapes: label, points [[x, y], ...]

Shapes are LabelMe's polygons. Those whose label holds "ignore" are pixels that no measure counts, "flag" is nothing,
every other one is the target; smaller ones are painted over larger ones. Outlines are drawn and filled by OpenCV on
whole pixels, as LISA and X-SAM do (LISA ``utils/data_processing.py``, after which this was written; the files
themselves were not at hand).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.reading import in_format, read_json, read_rgb
from xsam_backend.evaluation.datasets.records import Dataset, Wanted
from xsam_backend.geometry.raster import MAX_COORDINATE
from xsam_backend.ground_truth import Expression, GroundTruth
from xsam_backend.prompts import Region, Task

QUERIES = ("sentence", "phrase")
"""What ``only`` may choose: questions that are sentences ("what could roll away?"), or short phrases."""

_TARGET, _IGNORED = 1, 255


@dataclass(frozen=True)
class ReasonSegRecord:
    """One picture with its questions, all about the same target; not yet decoded.

    Attributes:
        path: the picture's file.
        split: the name of its folder.
        questions: as they are asked.
        is_sentence: whether they are sentences rather than short phrases.
    """

    path: Path
    split: str
    questions: tuple[str, ...]
    is_sentence: bool
    _shapes: tuple[tuple[str, Any], ...] = field(repr=False)

    @property
    def source(self) -> str:
        """The picture's file name."""
        return self.path.name

    def regions(self) -> tuple[Region, ...]:
        """None: questions are the prompts."""
        return ()

    def load(self) -> GroundTruth:
        """The picture, its target as the one segment, the questions, and the pixels to be ignored.

        Raises:
            DatasetError: the picture can't be read, a shape is no polygon, or the target covers no pixel of it.
        """
        image = read_rgb(self.path)
        values = self._paint((image.shape[0], image.shape[1]))
        if not (values == _TARGET).any():
            raise DatasetError(f"{self.path}: its target covers no pixel: the shapes belong to another picture")
        return GroundTruth(
            image=image,
            masks=(values == _TARGET)[None],
            names=("target",),
            is_thing=np.ones(1, np.bool_),
            is_crowd=np.zeros(1, np.bool_),
            questions=tuple(Expression(text, (0,)) for text in self.questions),
            source=self.source,
            ignored=values == _IGNORED,
        )

    def _paint(self, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """uint8 (H, W): target, ignored or 0."""
        polygons = [(label, self._points(points)) for label, points in self._shapes]
        areas = [np.count_nonzero(_draw(np.zeros(size_hw, np.uint8), points, 1)) for _, points in polygons]
        values = np.zeros(size_hw, np.uint8)
        # LISA sorts by rising area and reads it backwards: among equal ones the last goes first.
        for index in np.argsort(areas)[::-1]:
            label, points = polygons[index]
            _draw(values, points, _IGNORED if "ignore" in label.lower() else _TARGET)
        return values

    def _points(self, points: Any) -> NDArray[np.int32]:
        try:
            array = np.asarray(points, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise DatasetError(f"{self.path}: a shape's points: expected pairs of numbers") from error
        if array.ndim != 2 or array.shape[1:] != (2,) or not len(array):
            raise DatasetError(f"{self.path}: a shape's points: expected pairs [x, y], got shape {array.shape}")
        if not np.isfinite(array).all() or np.abs(array).max() > MAX_COORDINATE:
            raise DatasetError(f"{self.path}: a shape's points: expected finite numbers near the picture")
        return array.astype(np.int32)


def open_reason_seg(wanted: Wanted) -> Dataset:
    """A split's folder of ReasonSeg, or the folder above with ``split``, as a data set.

    Raises:
        DatasetError: no pictures with JSON beside them; a JSON is damaged; ``only`` is neither of ``QUERIES``.
    """
    if wanted.only not in (None, *QUERIES):
        raise DatasetError(f"expected only to be one of {', '.join(QUERIES)} in ReasonSeg, got '{wanted.only}'")
    folder = wanted.path / wanted.split if wanted.split and wanted.path.name != wanted.split else wanted.path
    files = sorted(path for path in folder.glob("*.json") if path.with_suffix(".jpg").exists())
    if not files:
        there = ", ".join(sorted(p.name for p in wanted.path.iterdir() if p.is_dir())) if wanted.path.is_dir() else ""
        raise DatasetError(
            f"{folder}: expected pictures with a JSON of the same name beside them, found none: point to ReasonSeg's "
            f"folder and choose a split{f' ({there})' if there else ''}"
        )
    records = [_record(file, folder.resolve().name) for file in files]
    asked = [r for r in records if wanted.only is None or r.is_sentence is (wanted.only == "sentence")]
    kept = tuple(record for record in asked if record.questions and _has_target(record))
    if not kept:
        raise DatasetError(f"{folder}: none of its {len(records)} pictures has a target and questions of that kind")
    return Dataset(
        name="ReasonSeg" + (f", {wanted.only}s" if wanted.only else ""),
        format="reasonseg",
        split=folder.resolve().name,
        categories=(),
        tasks=(Task.REASONING,),
        labelling="phrases",
        records=kept,
        notes=(f"{len(asked) - len(kept)} pictures without a target left out", "ignored pixels count neither way"),
    )


def _record(file: Path, split: str) -> ReasonSegRecord:
    content = _read(file)
    with in_format(file, "ReasonSeg's text, is_sentence and shapes"):
        shapes = [(str(shape["label"]), shape["points"]) for shape in content["shapes"]]
        texts: Sequence[str] = [content["text"]] if isinstance(content["text"], str) else content["text"]
        return ReasonSegRecord(
            path=file.with_suffix(".jpg"),
            split=split,
            questions=tuple(text.strip() for text in texts),
            is_sentence=bool(content["is_sentence"]),
            _shapes=tuple((label, points) for label, points in shapes if label.lower() != "flag"),
        )


def _read(file: Path) -> Mapping[str, Any]:
    """UTF-8, or Windows' western letters: some of the files are."""
    try:
        content: Mapping[str, Any] = read_json(file)
    except DatasetError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        content = read_json(file, "cp1252")
    return content


def _has_target(record: ReasonSegRecord) -> bool:
    return any("ignore" not in label.lower() for label, _ in record._shapes)


def _draw(values: NDArray[np.uint8], points: NDArray[np.int32], value: int) -> NDArray[np.uint8]:
    cv2.polylines(values, [points], True, value, 1)
    cv2.fillPoly(values, [points], value)
    return values
