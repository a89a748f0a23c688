"""Stuff: how a picture is divided into sky, grass, wall and the like, and what each looks like."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.scenes.surfaces import (
    Field,
    Picture,
    Rgb,
    blended,
    grain,
    mixed,
    painted,
    palette,
    shade,
    smooth_noise,
)

Texture = Callable[[np.random.Generator, tuple[int, int]], Picture]

GROUNDS = ("grass", "sand", "snow", "water", "road")
BACKDROPS = ("mountain", "mountain", "mountain", "water", "grass", "sand", "snow")


def draw_stuff(
    rng: np.random.Generator, size_hw: tuple[int, int]
) -> tuple[Picture, NDArray[np.uint8], tuple[str, ...]]:
    """A picture of stuff alone.

    Returns:
        picture: uint8 (H, W, 3).
        region: uint8 (H, W), which of the names each pixel is.
        names: two to four different stuff names.
    """
    region, names = _layout(rng, size_hw)
    picture = np.zeros((*size_hw, 3), np.uint8)
    for index, name in enumerate(names):
        inside = (region == index).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(inside)
        if not width:
            continue
        texture = TEXTURES[name](rng, (height, width))
        window = (slice(y, y + height), slice(x, x + width))
        cv2.copyTo(texture, inside[window], picture[window])
    _clutter(picture, rng)
    return picture, region, names


def _layout(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    kind = rng.random()
    region = np.zeros(size_hw, np.uint8)
    if kind < 0.55:
        ground = GROUNDS[int(rng.integers(len(GROUNDS)))]
        names = ["sky", ground]
        horizon = rng.uniform(0.25, 0.6)
        if rng.random() < 0.45:
            names.insert(1, _other(BACKDROPS, names, rng))
            steep = 0.14 if names[1] == "mountain" else 0.03
            _below(region, horizon - rng.uniform(0.08, 0.2), steep, 1, rng)
        _below(region, horizon, rng.uniform(0, 0.05), len(names) - 1, rng)
        if rng.random() < 0.35 and len(names) < 4:
            names.append(_other(("road", "water", "sand"), names, rng))
            _path(region, horizon, len(names) - 1, rng)
    elif kind < 0.8:
        names = ["wall", "floor"]
        _below(region, rng.uniform(0.4, 0.75), 0.0, 1, rng)
    else:
        names = [GROUNDS[int(rng.integers(len(GROUNDS)))]]
        for _ in range(int(rng.integers(1, 3))):
            names.append(_other(GROUNDS, names, rng))
            (_patch if rng.random() < 0.6 else _strip)(region, len(names) - 1, rng)
    return region, tuple(names)


def _other(options: tuple[str, ...], taken: list[str], rng: np.random.Generator) -> str:
    free = [name for name in options if name not in taken]
    return free[int(rng.integers(len(free)))]


def _fill(region: NDArray[np.uint8], points_xy: NDArray[np.float64], index: int) -> None:
    """Fills a polygon given in shares of width and height."""
    height, width = region.shape
    pixels = np.round(points_xy * (width * 16, height * 16)).astype(np.int32)
    cv2.fillPoly(region, [pixels], index, cv2.LINE_8, 4)


def _below(region: NDArray[np.uint8], y: float, rough: float, index: int, rng: np.random.Generator) -> None:
    """Everything below a line at a share ``y`` of the height, wavy by ``rough``, slightly slanted."""
    knots = int(rng.integers(3, 9))
    xs = np.linspace(0, 1, 33)
    line = np.interp(xs, np.linspace(0, 1, knots), rng.uniform(-1, 1, knots)) * rough
    ys = y + line + (xs - 0.5) * rng.uniform(-0.06, 0.06)
    _fill(region, np.concatenate([np.stack([xs, ys], 1), [(1.01, 1.01), (-0.01, 1.01)]]), index)


def _path(region: NDArray[np.uint8], horizon: float, index: int, rng: np.random.Generator) -> None:
    """A strip on the ground that narrows towards the horizon."""
    far, near = rng.uniform(0.2, 0.8, 2)
    thin, wide = rng.uniform(0.02, 0.08), rng.uniform(0.15, 0.35)
    top = horizon + 0.06
    _fill(region, np.array([(far - thin, top), (far + thin, top), (near + wide, 1.01), (near - wide, 1.01)]), index)


def _strip(region: NDArray[np.uint8], index: int, rng: np.random.Generator) -> None:
    """A band across the picture, seen from above."""
    a, b = rng.uniform(0.2, 0.8, 2)
    wide = rng.uniform(0.08, 0.2)
    band = np.array([(-0.01, a - wide), (1.01, b - wide), (1.01, b + wide), (-0.01, a + wide)])
    _fill(region, band if rng.random() < 0.5 else band[:, ::-1], index)


def _patch(region: NDArray[np.uint8], index: int, rng: np.random.Generator) -> None:
    """A rounded patch: a pond, a sandpit."""
    angles = np.arange(40) * (2 * np.pi / 40)
    bumps = 1 + 0.15 * np.sin(angles * int(rng.integers(2, 6)) + rng.uniform(0, 6))
    radii = bumps[:, None] * rng.uniform(0.2, 0.42, 2)
    _fill(region, rng.uniform(0.2, 0.8, 2) + radii * np.stack([np.cos(angles), np.sin(angles)], 1), index)


def _clutter(picture: Picture, rng: np.random.Generator) -> None:
    """Twigs, pebbles, stains: small marks without a name, which belong to the stuff that they lie on."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(0, 5)) * int(rng.integers(0, 9))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        here = picture[y, x].astype(float)
        colour = tuple(float(c) for c in np.clip(here + rng.uniform(-70, 70) + rng.uniform(-25, 25, 3), 0, 255))
        reach = max(2, int(min(height, width) * rng.uniform(0.008, 0.05)))
        if rng.random() < 0.6:
            dx, dy = (int(d) for d in rng.integers(-reach, reach + 1, 2))
            cv2.line(picture, (x, y), (x + dx, y + dy), colour, int(rng.integers(1, 4)), cv2.LINE_AA)
        else:
            corners = rng.integers(-reach // 2 - 1, reach // 2 + 2, (5, 2)) + (x, y)
            cv2.fillConvexPoly(picture, cv2.convexHull(corners.astype(np.int32)), colour, cv2.LINE_AA)


def _jitter(colour: tuple[int, int, int], rng: np.random.Generator, by: float = 9) -> Rgb:
    gain = rng.uniform(0.85, 1.12)
    red, green, blue = np.clip(np.array(colour) * gain + rng.uniform(-by, by, 3), 0, 255)
    return float(red), float(green), float(blue)


def _pick(rng: np.random.Generator, *colours: tuple[int, int, int]) -> Rgb:
    return _jitter(colours[int(rng.integers(len(colours)))], rng)


def _vertical(size_hw: tuple[int, int]) -> Field:
    """0 at the top to 255 at the bottom."""
    column = np.linspace(0, 255, size_hw[0]).astype(np.uint8)
    return np.repeat(column[:, None], size_hw[1], 1)


def _sky(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    top = _pick(rng, (82, 140, 214), (120, 170, 225), (160, 176, 190), (44, 60, 110), (200, 150, 140))
    picture = painted(_vertical(size_hw), palette(top, shade(top, rng.uniform(1.2, 1.7))))
    if rng.random() < 0.6:
        puffs = mixed(smooth_noise(rng, size_hw, (4, 5)), 0.65, smooth_noise(rng, size_hw, (12, 16)))
        start = int(rng.integers(120, 170))
        cover = np.clip((np.arange(256) - start) * 5, 0, 230).astype(np.uint8)
        alpha = cover[puffs]
        white = np.full_like(picture, int(rng.integers(215, 250)))
        picture = blended(picture, white, alpha)
    return picture


def _grass(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    base = _pick(rng, (78, 128, 52), (98, 140, 60), (120, 130, 62), (58, 104, 56))
    blades = smooth_noise(rng, size_hw, (size_hw[0] // int(rng.integers(3, 8)), size_hw[1] // 2))
    field = mixed(smooth_noise(rng, size_hw, (5, 7)), rng.uniform(0.25, 0.5), blades)
    return painted(field, palette(shade(base, 0.5), base, shade(base, 1.3)))


def _sand(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    base = _pick(rng, (214, 186, 138), (196, 164, 120), (224, 204, 164))
    field = mixed(smooth_noise(rng, size_hw, (6, 8)), rng.uniform(0.4, 0.7), grain(rng, size_hw))
    if rng.random() < 0.5:
        rows = np.arange(size_hw[0], dtype=np.float32)[:, None] / np.float32(rng.uniform(1.5, 4))
        bend = smooth_noise(rng, size_hw, (3, 4)).astype(np.float32) / np.float32(rng.uniform(15, 60))
        field = mixed(field, 0.7, (127 + 127 * np.sin(rows + bend)).astype(np.uint8))
    return painted(field, palette(shade(base, 0.75), base, shade(base, 1.3)))


def _water(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    base = _pick(rng, (52, 108, 150), (40, 130, 150), (70, 100, 120), (30, 80, 130))
    waves = smooth_noise(
        rng, size_hw, (size_hw[0] // int(rng.integers(3, 9)), size_hw[1] // int(rng.integers(14, 40)))
    )
    field = mixed(waves, rng.uniform(0.4, 0.8), smooth_noise(rng, size_hw, (4, 3)))
    return painted(field, palette(shade(base, 0.65), base, shade(base, 1.2), shade(base, rng.uniform(1.3, 1.8))))


def _snow(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    base = _pick(rng, (222, 230, 240), (232, 232, 236), (206, 218, 236))
    field = mixed(smooth_noise(rng, size_hw, (4, 5)), rng.uniform(0.65, 0.85), grain(rng, size_hw))
    return painted(field, palette(shade(base, 0.8), base, (250, 250, 252)))


def _road(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    base = _pick(rng, (98, 98, 102), (120, 116, 112), (76, 78, 84))
    field = mixed(grain(rng, size_hw), rng.uniform(0.3, 0.6), smooth_noise(rng, size_hw, (8, 8)))
    picture = painted(field, palette(shade(base, 0.75), base, shade(base, 1.2)))
    if rng.random() < 0.4:
        height, width = size_hw
        y, thick = int(height * rng.uniform(0.3, 0.7)), max(2, height // 40)
        for x in range(0, width, max(8, width // 6)):
            cv2.rectangle(picture, (x, y), (x + width // 12, y + thick), shade(base, 1.7), -1)
    return picture


def _wall(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    base = _pick(
        rng, (212, 200, 180), (190, 206, 204), (206, 176, 160), (170, 170, 190), (180, 110, 84), (150, 168, 130)
    )
    field = mixed(smooth_noise(rng, size_hw, (3, 4)), rng.uniform(0.5, 0.8), grain(rng, size_hw))
    kind = rng.random()
    if kind < 0.35:
        field = mixed(field, 0.55, _bricks(rng, size_hw))
    elif kind < 0.6:
        period = rng.uniform(0.04, 0.12) * max(size_hw)
        stripes = (np.arange(size_hw[1]) % period > period * rng.uniform(0.3, 0.7)).astype(np.uint8) * 255
        field = mixed(field, 0.6, np.repeat(stripes[None], size_hw[0], 0))
    return painted(field, palette(shade(base, 0.7), base, shade(base, 1.25)))


def _bricks(rng: np.random.Generator, size_hw: tuple[int, int], shift: float = 0.5) -> Field:
    """Rows of bricks of differing brightness with dark joints."""
    height = max(6, int(max(size_hw) * rng.uniform(0.03, 0.09)))
    width = int(height * rng.uniform(1.6, 3))
    rows, columns = size_hw[0] // height + 1, size_hw[1] // width + 2
    tone = rng.integers(110, 256, (rows, columns), np.uint8)
    field = np.repeat(np.repeat(tone, height, 0), width, 1)
    field[::height] = 30
    field[:, ::width] = 30
    offset = int(width * shift)
    for row in range(1, rows, 2):
        band = slice(row * height, (row + 1) * height)
        field[band] = np.roll(field[band], offset, 1)
    return np.ascontiguousarray(field[: size_hw[0], : size_hw[1]])


def _floor(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    base = _pick(rng, (150, 106, 68), (176, 136, 96), (120, 90, 72), (184, 180, 174), (140, 140, 146))
    field = mixed(smooth_noise(rng, size_hw, (size_hw[0] // 4, 6)), 0.6, grain(rng, size_hw))
    if rng.random() < 0.7:
        field = mixed(field, 0.5, _bricks(rng, size_hw, rng.uniform(0.2, 0.8)))
    else:
        tile = max(8, int(max(size_hw) * rng.uniform(0.05, 0.12)))
        ys, xs = np.arange(size_hw[0])[:, None] // tile, np.arange(size_hw[1])[None] // tile
        field = mixed(field, 0.5, ((ys + xs) % 2 * 200).astype(np.uint8))
    return painted(field, palette(shade(base, 0.65), base, shade(base, 1.25)))


def _mountain(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    base = _pick(rng, (110, 104, 104), (124, 106, 90), (92, 104, 120))
    rough = mixed(smooth_noise(rng, size_hw, (size_hw[0] // 8, size_hw[1] // 12)), 0.6, grain(rng, size_hw))
    field = mixed(smooth_noise(rng, size_hw, (5, 8)), 0.5, rough)
    return painted(field, palette(shade(base, 0.5), base, shade(base, 1.4)))


TEXTURES: dict[str, Texture] = {
    "sky": _sky,
    "grass": _grass,
    "sand": _sand,
    "water": _water,
    "wall": _wall,
    "floor": _floor,
    "road": _road,
    "snow": _snow,
    "mountain": _mountain,
}
"""How to paint each name of ``vocabulary.STUFF_NAMES``."""
