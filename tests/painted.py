"""Painted pictures that say what is on them, pixel by pixel: what a thing is called stands in its red and green, and
in its blue how sure one can be of it. Whoever reads that (``seeing_predictor``) finds what a good model would find.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]

SIZE_HW = (240, 320)
GROUND = (150, 150, 150)


def name_colour(name: str) -> tuple[int, int]:
    """Red and green of a thing of that name, in any case and with any spaces around it."""
    digest = hashlib.sha256(" ".join(name.lower().split()).encode()).digest()
    return digest[0], digest[1]


@dataclass(frozen=True)
class Thing:
    """One thing on a picture.

    Attributes:
        name: what finds it: a label's words, a description, a question.
        box_xyxy: around it; of a leaning one, around it before it leaned.
        sure: its score, 0..1.
        shape: a disc fills its box; a leaning one is its box turned by 30 degrees about the centre.
    """

    name: str
    box_xyxy: Box
    sure: float = 0.9
    shape: Literal["block", "disc", "leaning"] = "block"

    @property
    def colour(self) -> tuple[int, int, int]:
        return (*name_colour(self.name), round(255 * self.sure))

    def mask(self, size_hw: tuple[int, int] = SIZE_HW) -> Mask:
        """bool (H, W)."""
        x0, y0, x1, y1 = self.box_xyxy
        ys, xs = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
        if self.shape == "disc":
            from_centre = ((xs - (x0 + x1) / 2) * 2 / (x1 - x0)) ** 2 + ((ys - (y0 + y1) / 2) * 2 / (y1 - y0)) ** 2
            inside: Mask = from_centre < 1
        elif self.shape == "leaning":
            canvas = np.zeros(size_hw, np.uint8)
            corners = cv2.boxPoints((((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0, y1 - y0), LEANS_DEG))
            cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1)
            inside = canvas.astype(bool)
        else:
            inside = (x0 < xs) & (xs < x1) & (y0 < ys) & (ys < y1)
        return inside


LEANS_DEG = 30.0


def paint(things: Sequence[Thing], size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.uint8]:
    """uint8 (H, W, 3): the things on grey; none hides another."""
    colours = {thing.name: name_colour(thing.name) for thing in things}
    assert len({*colours.values(), GROUND[:2]}) == len(colours) + 1, "two names with one colour: rename a thing"
    pixels = np.full((*size_hw, 3), GROUND, np.uint8)
    for thing in things:
        mask = thing.mask(size_hw)
        assert (pixels[mask] == GROUND).all(), f"{thing} hides another thing"
        pixels[mask] = thing.colour
    return pixels


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A file that keeps every pixel."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def data_url(content: bytes) -> str:
    """A PNG as an address that needs no server."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
