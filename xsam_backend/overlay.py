"""A picture with its instances drawn on it: tinted masks, outlines, labels and scores."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.instances import Instances

_OPACITY = 0.45
_GOLDEN = 0.618034  # hues this far apart stay distinct however many there are


Writing = Literal["label and score", "label", "nothing"]


def draw_overlay(
    image: NDArray[np.uint8],
    instances: Instances,
    *,
    writing: Writing = "label and score",
    first_labels: Sequence[str] = (),
) -> NDArray[np.uint8]:
    """A copy of ``image`` (uint8 (H, W, 3) RGB) with ``instances`` on it, the surest on top.

    Every label has its own colour; instances without a label have one each. Text and lines grow with the picture.

    Args:
        writing: what stands at each instance.
        first_labels: these have the first colours, in this order: the same ones on several pictures.
    """
    drawn = image.copy()
    height, width = image.shape[:2]
    thick = max(1, round(min(height, width) / 300))
    names = {name: index for index, name in enumerate(dict.fromkeys(first_labels))}
    for index in np.argsort(instances.scores, kind="stable"):
        label = instances.labels[index]
        key = label if label is not None else f"#{index}"
        color = label_color(names.setdefault(key, len(names)))
        mask = instances.cropped[index]
        part = drawn[mask.window]
        part[mask.crop] = ((1 - _OPACITY) * part[mask.crop] + _OPACITY * np.array(color)).astype(np.uint8)
        if not mask.is_empty:
            at = mask.corner_xy
            rings, _ = cv2.findContours(
                mask.crop.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=at
            )
            cv2.drawContours(drawn, rings, -1, color, thick, cv2.LINE_AA)
    for index in np.argsort(instances.scores, kind="stable"):  # after all masks, so that no mask hides a text
        text = _text(instances.labels[index], float(instances.scores[index]), writing)
        if text and not instances.cropped[index].is_empty:
            x0, y0 = (int(value) for value in instances.boxes_xyxy[index][:2])
            _write(drawn, text, (x0, y0), thick)
    return drawn


def _text(label: str | None, score: float, writing: Writing) -> str:
    if writing == "nothing":
        return ""
    if writing == "label":
        return label or ""
    return f"{label} {score:.2f}" if label else f"{score:.2f}"


def label_color(number: int) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of the label with this number, from 0."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + number * _GOLDEN) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _write(drawn: NDArray[np.uint8], text: str, corner_xy: tuple[int, int], thick: int) -> None:
    """White text on a dark plate above the corner, moved inside the picture. Letters beyond ASCII become '?'."""
    text = text.encode("ascii", "replace").decode()
    scale = 0.4 * max(1.0, min(drawn.shape[:2]) / 500)
    (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    x = max(0, min(corner_xy[0], drawn.shape[1] - wide - 4))
    y = max(high + below + 2, min(corner_xy[1], drawn.shape[0] - 2))
    cv2.rectangle(drawn, (x, y - high - below - 2), (x + wide + 4, y), (20, 20, 20), -1)
    cv2.putText(drawn, text, (x + 2, y - below), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thick, cv2.LINE_AA)
