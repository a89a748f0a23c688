"""The dozen pictures of the demo: six drawn scenes that no model was trained on, and six photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from xsam_backend.demo.photos import PHOTOS
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, draw_scene

SCENES = tuple(FIRST_HELD_OUT_SEED + number for number in (221, 626, 733, 1050, 1055, 204))
"""Chosen for what is on them, not for how they are answered: every thing on them has a label in the label config."""

SCENE_SIZE_HW = (480, 640)


@dataclass(frozen=True)
class Picture:
    """A picture to upload. ``credit``: whose it is, a column of the Data Manager."""

    name: str
    content: bytes
    credit: str

    @property
    def kind(self) -> str:
        """Its media type."""
        return "image/jpeg" if self.name.endswith(".jpg") else "image/png"


def scenes() -> list[Picture]:
    """The drawn ones, always the same."""
    drawn = []
    for seed in SCENES:
        image = draw_scene(seed, SCENE_SIZE_HW).image
        _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        drawn.append(Picture(f"scene-{seed}.png", encoded.tobytes(), f"drawn by xsam-backend, seed {seed}"))
    return drawn


def photos(folder: Path) -> list[Picture]:
    """Those photographs that are in the folder."""
    return [
        Picture(photo.name, (folder / photo.name).read_bytes(), photo.credit)
        for photo in PHOTOS
        if (folder / photo.name).exists()
    ]
