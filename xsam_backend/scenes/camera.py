"""What a camera does to a scene: light, contrast, blur, noise, compression. Masks are not touched."""

from __future__ import annotations

import cv2
import numpy as np

from xsam_backend.scenes.surfaces import Field, Picture, as_u8, grain, lit, smooth_noise

UNTOUCHED_SHARE = 0.1
"""Share of the scenes that are left perfectly clean."""


def photographed(picture: Picture, rng: np.random.Generator) -> Picture:
    """The picture as it might come out of a camera. Colours change little enough to keep their names."""
    if rng.random() < UNTOUCHED_SHARE:
        return picture
    picture = _exposed(picture, rng)
    if rng.random() < 0.4:
        picture = lit(picture, _uneven_light(picture, rng))
    if rng.random() < 0.55:
        picture = as_u8(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.3)))
    elif rng.random() < 0.15:
        length = int(rng.integers(3, 6))
        shape = (length, 1) if rng.random() < 0.5 else (1, length)
        picture = as_u8(cv2.blur(picture, shape))
    if rng.random() < 0.7:
        picture = _noisy(picture, rng.uniform(0.02, 0.13), rng)
    if rng.random() < 0.4:
        picture = _compressed(picture, int(rng.integers(35, 95)))
    return picture


def _exposed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Brightness, contrast, gamma and a slight cast, through one look-up table per channel."""
    levels = np.arange(256) / 255
    curve = levels ** rng.uniform(0.8, 1.25)
    curve = 0.5 + (curve - 0.5) * rng.uniform(0.75, 1.15)
    tables = np.clip(curve[:, None] * rng.uniform(0.85, 1.12) * rng.uniform(0.96, 1.04, 3), 0, 1)
    return as_u8(cv2.LUT(picture, np.round(tables * 255).astype(np.uint8)[:, None]))


def _uneven_light(picture: Picture, rng: np.random.Generator) -> Field:
    """Soft shadows across the picture, or light that falls off to one side."""
    cells = (2, 2) if rng.random() < 0.6 else (4, 4)
    darkest = rng.uniform(0.72, 0.95)
    light = smooth_noise(rng, (picture.shape[0], picture.shape[1]), cells)
    return as_u8(cv2.convertScaleAbs(light, alpha=1 - darkest, beta=255 * darkest))


def _noisy(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    noise = grain(rng, (height, width * 3)).reshape(picture.shape)
    return as_u8(cv2.addWeighted(picture, 1, noise, strength, -127.5 * strength))


def _compressed(picture: Picture, quality: int) -> Picture:
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return as_u8(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
