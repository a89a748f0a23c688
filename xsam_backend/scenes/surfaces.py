"""What things look like on the outside: nameable colours, patterns, light and shade.

Pictures are painted through palettes: an 8-bit field says where, 256 colours say what. That is fast in OpenCV.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.scenes.vocabulary import COLOURS

Rgb = tuple[float, float, float]
Field = NDArray[np.uint8]
"""uint8 (H, W), an index into a palette of 256 colours."""
Picture = NDArray[np.uint8]
"""uint8 (H, W, 3) RGB."""

MATERIALS: dict[str, Rgb] = {
    "wood": (112, 72, 42),
    "glass": (170, 205, 225),
    "rubber": (38, 38, 42),
    "metal": (165, 168, 172),
    "paper": (238, 230, 208),
    "ink": (40, 34, 36),
    "stem": (62, 128, 52),
    "pollen": (236, 178, 52),
}
"""Colours of parts that don't take the thing's own."""

PATTERNS: tuple[str, ...] = ("plain", "gradient", "noisy", "striped", "dotted", "checkered")


def as_u8(array: object) -> NDArray[np.uint8]:
    """The same array under its exact type: OpenCV's own hints leave the element type open. No copy."""
    return np.asarray(array, np.uint8)


def named_colour(name: str, rng: np.random.Generator) -> Rgb:
    """A colour that everybody would call by this name: near its typical value, a little lighter or darker."""
    base = np.array(COLOURS[name], float)
    tint = rng.uniform(-12, 12, 3) if name not in ("black", "white", "grey") else rng.uniform(-4, 4, 3)
    spread = {"black": 0.1, "white": 0.04, "grey": 0.12, "brown": 0.1}.get(name, 0.14)
    red, green, blue = np.clip(base * rng.uniform(1 - spread, 1 + spread) + tint, 0, 255)
    return float(red), float(green), float(blue)


def shade(colour: Rgb, factor: float) -> Rgb:
    """Darker for factors below 1; above 1 lighter, towards white at 2."""
    red, green, blue = (c * factor if factor <= 1 else c + (255 - c) * (factor - 1) for c in colour)
    return red, green, blue


def palette(*stops: Rgb) -> Picture:
    """256 colours, evenly blended from stop to stop, as OpenCV's colour maps want them: uint8 (256, 1, 3)."""
    where = np.linspace(0, 255, len(stops))
    columns = [np.interp(np.arange(256), where, [stop[channel] for stop in stops]) for channel in range(3)]
    return np.stack(columns, 1).astype(np.uint8)[:, None]


def painted(field: Field, colours: Picture) -> Picture:
    """The field seen through a palette."""
    return as_u8(cv2.applyColorMap(np.ascontiguousarray(field), colours))


def smooth_noise(rng: np.random.Generator, size_hw: tuple[int, int], cells_hw: tuple[int, int]) -> Field:
    """Random values at a coarse grid, blended smoothly in between."""
    coarse = rng.integers(0, 256, (max(2, cells_hw[0]), max(2, cells_hw[1])), np.uint8)
    if max(cells_hw) < 16:
        # Bends are rounded at a small size: the cubic step is slow at the full one, the linear step is not.
        coarse = as_u8(cv2.resize(coarse, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC))
    return as_u8(cv2.resize(coarse, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR))


def grain(rng: np.random.Generator, size_hw: tuple[int, int]) -> Field:
    """A random value for every pixel."""
    return np.frombuffer(rng.bytes(size_hw[0] * size_hw[1]), np.uint8).reshape(size_hw)


def mixed(first: Field, share: float, second: Field) -> Field:
    """A share of the first field, the rest of the second."""
    return as_u8(cv2.addWeighted(first, share, second, 1 - share, 0))


def surface(colour: Rgb, pattern: str, size_hw: tuple[int, int], rng: np.random.Generator) -> Picture:
    """The thing's own surface over its whole bounding box.

    Patterns are of the colour and of white or a darker shade, so that the colour's name stays true.
    """
    height, width = size_hw
    second = shade(colour, 0.45) if sum(colour) > 460 or rng.random() < 0.3 else shade(colour, 1.75)
    if pattern == "plain":
        return painted(np.zeros(size_hw, np.uint8), palette(colour))
    if pattern == "gradient":
        along = rng.uniform(-1, 1, 2)
        ramp = _ramp(size_hw, along)
        return painted(
            np.round(ramp * 255).astype(np.uint8), palette(shade(colour, 0.75), colour, shade(colour, 1.2))
        )
    if pattern == "noisy":
        cells = int(rng.integers(6, 30))
        field = mixed(smooth_noise(rng, size_hw, (cells, cells)), 0.6, grain(rng, size_hw))
        return painted(field, palette(shade(colour, 0.75), colour, shade(colour, 1.25)))
    return painted(_pattern_field(pattern, max(height, width), size_hw, rng), palette(colour, second))


def _ramp(size_hw: tuple[int, int], along_xy: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 (H, W) that rises linearly from 0 to 1 in a direction."""
    ys = np.linspace(0, 1, size_hw[0], dtype=np.float32)[:, None] * np.float32(along_xy[1])
    xs = np.linspace(0, 1, size_hw[1], dtype=np.float32)[None] * np.float32(along_xy[0])
    ramp = xs + ys
    low, high = float(ramp.min()), float(ramp.max())
    ramp = (ramp - np.float32(low)) / np.float32(max(high - low, 1e-6))
    return ramp


def _pattern_field(pattern: str, side_px: int, size_hw: tuple[int, int], rng: np.random.Generator) -> Field:
    """0 where the first colour is, 255 where the second is; three to seven repeats over the side."""
    period = max(4.0, side_px / rng.uniform(3, 7))
    angle = rng.uniform(0, np.pi)
    ys = np.arange(size_hw[0], dtype=np.float32)[:, None] / np.float32(period)
    xs = np.arange(size_hw[1], dtype=np.float32)[None] / np.float32(period)
    u = xs * np.float32(np.cos(angle)) + ys * np.float32(np.sin(angle)) + np.float32(rng.random())
    if pattern == "striped":
        second = (u % 1) > rng.uniform(0.5, 0.65)
    else:
        v = ys * np.float32(np.cos(angle)) - xs * np.float32(np.sin(angle)) + np.float32(rng.random())
        if pattern == "checkered":
            second = ((u + u) % 2 < 1) ^ ((v + v) % 2 < 1)
        else:
            second = (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < np.float32(rng.uniform(0.07, 0.11))
    return second.astype(np.uint8) * 255


def shading(size_hw: tuple[int, int], rng: np.random.Generator) -> Field:
    """How much light falls where, 255 is full: from one side, or as on something round."""
    if rng.random() < 0.5:
        ramp = _ramp(size_hw, rng.uniform(-1, 1, 2))
        low = rng.uniform(0.65, 0.95)
        return np.round((low + (1 - low) * ramp) * 255).astype(np.uint8)
    x, y = rng.uniform(0.25, 0.6), rng.uniform(0.2, 0.5)
    xs = (np.linspace(0, 1, size_hw[1], dtype=np.float32) - np.float32(x))[None] ** 2
    ys = (np.linspace(0, 1, size_hw[0], dtype=np.float32) - np.float32(y))[:, None] ** 2
    return np.round(255 * (1 - np.float32(rng.uniform(0.3, 0.55)) * np.minimum(xs + ys, 0.7))).astype(np.uint8)


def lit(picture: Picture, light: Field) -> Picture:
    """The picture under that light."""
    return as_u8(cv2.multiply(picture, cv2.merge((light, light, light)), scale=1 / 255))


def blended(below: Picture, above: Picture, alpha: Field) -> Picture:
    """``above`` over ``below``, as opaque as ``alpha`` says (255 is fully)."""
    weight = alpha.astype(np.float32) * np.float32(1 / 255)
    return as_u8(cv2.blendLinear(above, np.ascontiguousarray(below), weight, 1 - weight))
