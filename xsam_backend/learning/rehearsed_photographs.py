"""Photographs that every training rehearses: nobody labelled them, right is what the base model itself answers.

Drawn scenes rehearse what can be asked; but a model that learns from one kind of photograph alone forgets what clicks
on others mean. The pictures are few and ship with the package (whose they are: ``photographs/CREDITS.md``).
Learning from one's own former answers is Learning without Forgetting (Li and Hoiem, 2016).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.datasets.reading import read_rgb
from xsam_backend.evaluation.simulated_prompts import centre_click
from xsam_backend.geometry.coco_rle import mask_to_coco_rle
from xsam_backend.geometry.masks import mask_iou
from xsam_backend.instances import Instances
from xsam_backend.model.predictor import Predictor
from xsam_backend.prompts import Point, Prompt, Task
from xsam_backend.whole_files import write_whole

PHOTOGRAPHS = Path(str(files("xsam_backend.learning"))) / "photographs"

ANSWERS = "photographs.json"

CLICKS_ACROSS = 5
"""So many rows and columns of clicks are asked about in each picture."""

LEAST_SHARE, LARGEST_SHARE = 0.002, 0.6
"""Of the picture's area: smaller answers are crumbs, larger ones the background."""

ALIKE = 0.7
"""Answers that overlap by more than this are the same. One that a click at its middle doesn't get again is no object
to the model: to learn it would be to learn something new."""

NAME = "something"
"""Nobody knows what they are: they can be clicked at, not asked for."""


def answered_photographs(predictor: Predictor, folder: Path) -> Path:
    """What a model answers to clicks all over the photographs, as a file of COCO instances. The pictures themselves
    are in ``PHOTOGRAPHS``, and so are the shipped model's answers; another's are in this folder, written unless they
    are there.

    Raises:
        DatasetError: a photograph can't be read.
        OSError: the file can't be written.
    """
    path = folder / ANSWERS
    if path.is_file():
        return path
    shipped = shipped_answers(predictor.model_version)
    if shipped.is_file():
        return shipped
    write_answers(predictor, path)
    return path


def shipped_answers(model_version: str) -> Path:
    """Where a model's answers are, if they come with the package."""
    return PHOTOGRAPHS / f"{model_version}.json"


def write_answers(predictor: Predictor, path: Path) -> None:
    """Ask the model, and write its answers. Raises as ``answered_photographs`` does."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(photographs(), 1):
        image = read_rgb(picture)
        height, width = image.shape[:2]
        # No note of what is labelled would mean all of it: see ``CocoFolder``.
        labelled = "what clicks found"
        images.append(
            {"id": number, "file_name": picture.name, "height": height, "width": width, "labelled": labelled}
        )
        annotations += [
            {
                "id": len(annotations) + count,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": mask_to_coco_rle(mask),
            }
            for count, mask in enumerate(_answers(predictor, image), 1)
        ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": NAME}]}
    write_whole(path, json.dumps(content).encode())


@cache
def photographs() -> tuple[Path, ...]:
    """The pictures, in the order of their names."""
    return tuple(sorted(PHOTOGRAPHS.glob("*.jpg")))


def _answers(predictor: Predictor, image: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
    """Masks, bool (H, W): no two alike, the surest first."""
    state = predictor.encode(image)

    def answer(point: Point) -> Instances:
        return predictor.answer(state, Prompt(Task.INTERACTIVE, (point,), score_threshold=0.0)).instances

    found: list[tuple[float, NDArray[np.bool_]]] = []
    for point in _clicks(image.shape[0], image.shape[1]):
        instances = answer(point)
        mask = instances.cropped[0].whole() if len(instances) else None
        if mask is not None and LEAST_SHARE <= mask.mean() <= LARGEST_SHARE:
            found.append((float(instances.scores[0]), mask))
    kept: list[NDArray[np.bool_]] = []
    for _, mask in sorted(found, key=lambda one: -one[0]):
        if all(mask_iou(mask, other) <= ALIKE for other in kept):
            again = answer(centre_click(mask))
            if len(again) and mask_iou(again.cropped[0].whole(), mask) > ALIKE:
                kept.append(mask)
    return kept


def _clicks(height: int, width: int) -> Iterator[Point]:
    for row in range(CLICKS_ACROSS):
        for column in range(CLICKS_ACROSS):
            yield Point((column + 0.5) * width / CLICKS_ACROSS, (row + 0.5) * height / CLICKS_ACROSS)
