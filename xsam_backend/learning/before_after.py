"""Pictures for people: what was accepted, what the deployed model finds, what the candidate finds, side by side.

Only pictures that the candidate has not learned from are shown: those with the largest gain and the largest loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.datasets.records import Record
from xsam_backend.geometry.masks import Mask
from xsam_backend.instances import Instances
from xsam_backend.learning.exam import Asked, Marks
from xsam_backend.overlay import draw_overlay
from xsam_backend.prompts import Category, Prompt, Task
from xsam_backend.whole_files import write_whole

SIDE_PX = 420
"""Longer side of one panel."""

PICTURES = 3
GAP_PX = 6
JPEG_QUALITY = 85


def most_changed(deployed: Marks, candidate: Marks, count: int = PICTURES) -> list[int]:
    """Numbers of pictures: the largest gains, and the largest loss where there is one."""
    rise = candidate.of_pictures - deployed.of_pictures
    order = [int(i) for i in np.argsort(-rise, kind="stable") if np.isfinite(rise[i])]
    if len(order) <= count:
        return order
    return [*order[: count - 1], order[-1]] if rise[order[-1]] < 0 else order[:count]


def draw_before_after(
    path: Path,
    record: Record,
    categories: Sequence[Category],
    labels: Sequence[str],
    deployed: Asked,
    candidate: Asked,
) -> None:
    """Write a JPEG of three panels: accepted, deployed, candidate, each with all of the project's labels.

    Args:
        categories: what is asked for.
        labels: these have the first colours, in this order: the page's legend has them so, too.

    Raises:
        DatasetError: the picture can't be read. OSError: the file can't be written.
    """
    truth = record.load()
    accepted = Instances.of(truth.masks, np.ones(len(truth.names), np.float32), truth.names)
    prompt = Prompt(Task.GENERIC, categories=tuple(categories))
    found = [predictor.answer(predictor.encode(truth.image), prompt).instances for predictor in (deployed, candidate)]
    panels = [_panel(truth.image, instances, labels) for instances in (accepted, *found)]
    gap = np.full((panels[0].shape[0], GAP_PX, 3), 255, np.uint8)
    sheet = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
    done, encoded = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    write_whole(path, encoded.tobytes())


def _panel(image: NDArray[np.uint8], instances: Instances, labels: Sequence[str]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = min(SIDE_PX / max(height, width), 4.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    masks = [_scaled(mask, size) for mask in instances.masks]
    stacked = np.stack(masks) if masks else np.zeros((0, size[1], size[0]), np.bool_)
    small = Instances.of(stacked, instances.scores, instances.labels)
    return draw_overlay(np.asarray(resized, np.uint8), small, writing="nothing", first_labels=labels)


def _scaled(mask: Mask, size: tuple[int, int]) -> Mask:
    return np.asarray(cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST), np.bool_)
