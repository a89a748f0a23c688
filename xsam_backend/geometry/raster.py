"""Shapes in pixels -> masks. One rule everywhere: a pixel belongs to a shape if its centre lies inside.

Pixel (column c, row r) covers c <= x < c + 1, r <= y < r + 1; its centre is (c + 0.5, r + 0.5). Shapes may reach
beyond the picture. A shape so small or thin that it holds no centre marks the pixels that its outline passes through,
as far as they are in the picture: what somebody drew never vanishes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xsam_backend.geometry.boxes import rotated_corners
from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.geometry.masks import Mask

MAX_COORDINATE = 1e6
"""Shapes further out than this are refused: their numbers are a mistake."""

_THIN_PX = 1e-3
"""Ellipses with a smaller radius are drawn as a line."""

_MOST_SAMPLES = 4_000_000
"""A bound on the work for one line, two for each pixel of its length: 400 times across a picture of 5000 pixels."""

_MOST_CROSSINGS = 5_000_000
"""A bound on the work for one polygon: times it may cross a row of pixels; each takes about 50 bytes."""

_BAND_PX = 1 << 18
"""Pixels that are computed together, in numbers of 8 bytes and several for each."""


def polygon_to_mask(polygon: ArrayLike, size_hw: tuple[int, int]) -> Mask:
    """bool (H, W) of an (N, 2) xy polygon in px, closed or not.

    Filled by the non-zero rule, as a browser fills it: a keyhole polygon (the inner ring runs the other way) has its
    hole, a ring that crosses itself has none.

    Raises:
        ValueError: not (N, 2) with N >= 3, not finite, far outside any picture, or absurdly intricate.
    """
    return polygon_to_crop(polygon, size_hw).whole()


def polygon_to_crop(polygon: ArrayLike, size_hw: tuple[int, int]) -> CroppedMask:
    """The same; only its box is ever in memory."""
    ring = _check_points(polygon, least=3)
    rows, columns = _window(ring, size_hw)
    inside = _filled(ring, rows, columns)
    if not inside.any():
        return _line_to_crop(np.concatenate([ring, ring[:1]]), size_hw)
    return CroppedMask.of(inside, (columns.start, rows.start), size_hw)


def polygons_to_mask(polygons: Sequence[ArrayLike], size_hw: tuple[int, int]) -> Mask:
    """bool (H, W): all the polygons together (their union), each as ``polygon_to_mask`` has it."""
    mask = np.zeros(size_hw, np.bool_)
    for polygon in polygons:
        crop = polygon_to_crop(polygon, size_hw)
        mask[crop.window] |= crop.crop
    return mask


def box_to_mask(
    x_px: float, y_px: float, width_px: float, height_px: float, size_hw: tuple[int, int], rotation_deg: float = 0.0
) -> Mask:
    """bool (H, W) of a rectangle, turned clockwise about its corner (x, y)."""
    return polygon_to_mask(rotated_corners([x_px, y_px, width_px, height_px], rotation_deg), size_hw)


def disc_to_mask(x_px: float, y_px: float, radius_px: float, size_hw: tuple[int, int]) -> Mask:
    """bool (H, W): pixels whose centre is at most ``radius_px`` from (x, y); at least a pixel that (x, y) touches."""
    return ellipse_to_mask(x_px, y_px, radius_px, radius_px, size_hw)


def ellipse_to_mask(
    x_px: float,
    y_px: float,
    radius_x_px: float,
    radius_y_px: float,
    size_hw: tuple[int, int],
    rotation_deg: float = 0.0,
) -> Mask:
    """bool (H, W) of an ellipse, turned clockwise about its centre (x, y); at least the pixels of its longer axis.

    Raises:
        ValueError: a number is not finite or far outside any picture, or a radius is negative.
    """
    return ellipse_to_crop(x_px, y_px, radius_x_px, radius_y_px, size_hw, rotation_deg).whole()


def ellipse_to_crop(
    x_px: float,
    y_px: float,
    radius_x_px: float,
    radius_y_px: float,
    size_hw: tuple[int, int],
    rotation_deg: float = 0.0,
) -> CroppedMask:
    """The same; only the box around it is ever in memory."""
    _check_points([[x_px, y_px], [radius_x_px, radius_y_px], [rotation_deg, 0.0]], least=3)
    if radius_x_px < 0 or radius_y_px < 0:
        raise ValueError(f"expected radii of 0 or more, got {radius_x_px:g} and {radius_y_px:g}")
    reach = max(radius_x_px, radius_y_px)
    rows, columns = _window(np.array([[x_px - reach, y_px - reach], [x_px + reach, y_px + reach]]), size_hw)
    inside = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    cosine, sine = np.cos(np.deg2rad(rotation_deg)), np.sin(np.deg2rad(rotation_deg))
    if min(radius_x_px, radius_y_px) > _THIN_PX:
        for band in _bands(rows, columns):
            dx, dy = _from_point((x_px, y_px), band, columns)
            along, across = dx * cosine + dy * sine, dy * cosine - dx * sine
            within = slice(band.start - rows.start, band.stop - rows.start)
            inside[within] = (along / radius_x_px) ** 2 + (across / radius_y_px) ** 2 <= 1
    if inside.any():
        return CroppedMask.of(inside, (columns.start, rows.start), size_hw)
    axis = (
        np.array([cosine, sine]) * radius_x_px
        if radius_x_px > radius_y_px
        else np.array([-sine, cosine]) * radius_y_px
    )
    return _line_to_crop(np.array([x_px, y_px]) + np.array([-axis, axis]), size_hw)


def stroke_to_mask(points: ArrayLike, width_px: float, size_hw: tuple[int, int]) -> Mask:
    """bool (H, W) of a line through (N, 2) xy points, ``width_px`` wide with round ends; a thin one stays connected.

    Raises:
        ValueError: not (N, 2), not finite, far outside any picture, or a negative width.
    """
    line = _check_points(points, least=1)
    if not 0 <= width_px <= MAX_COORDINATE:
        raise ValueError(f"expected a stroke width of 0 or more pixels, got {width_px}")
    mask = np.zeros(size_hw, np.bool_)
    radius = width_px / 2
    for start, end in itertools.pairwise(line):
        ends = np.stack([start, end])
        rows, columns = _window(np.concatenate([ends - radius, ends + radius]), size_hw)
        along = end - start
        for band in _bands(rows, columns):
            dx, dy = _from_point(start, band, columns)
            # How far along the piece, 0..1, the nearest point of it lies for each pixel's centre.
            share = np.clip((dx * along[0] + dy * along[1]) / max(float(along @ along), 1e-12), 0.0, 1.0)
            mask[band, columns] |= (dx - share * along[0]) ** 2 + (dy - share * along[1]) ** 2 <= radius**2
    if len(line) == 1:
        mask |= disc_to_mask(line[0, 0], line[0, 1], radius, size_hw)
    thin = _line_to_crop(line, size_hw)
    mask[thin.window] |= thin.crop
    return mask


def row_crossings(
    starts: NDArray[np.float64], ends: NDArray[np.float64], rows: slice, most: float = math.inf
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Where edges cross pixel rows' centre lines: which edge, which row, at what x, and 1 downwards, -1 upwards.

    Edges are always computed from above, so the two passes over a keyhole's bridge are the same exactly.

    Args:
        starts, ends: (N, 2) xy.
        rows: the rows that are looked at.
        most: so many crossings are computed.

    Raises:
        ValueError: there are more than ``most``.
    """
    # Which row's centre line comes next below a vertex: an edge crosses those between.
    row_of_start, row_of_end = (
        np.minimum(np.maximum(np.ceil(points[:, 1] - 0.5), rows.start), rows.stop).astype(np.int64)
        for points in (starts, ends)
    )
    crossing = np.flatnonzero(row_of_start != row_of_end)
    starts, ends, row_of_start, row_of_end = (array[crossing] for array in (starts, ends, row_of_start, row_of_end))
    crossings = np.abs(row_of_end - row_of_start)
    total = int(crossings.sum())
    if total > most:
        raise ValueError(
            f"expected a polygon that crosses pixel rows at most {most} times in all, got {total}: "
            "it is too intricate to fill; draw it with fewer turns"
        )
    down = row_of_end > row_of_start
    upper = np.where(down[:, None], starts, ends)
    along = ends - starts
    slope = along[:, 0] / along[:, 1]
    edge = np.repeat(np.arange(len(crossing)), crossings)
    row = np.arange(total) - (np.cumsum(crossings) - crossings - np.minimum(row_of_start, row_of_end))[edge]
    x = upper[:, 0][edge] + (row + 0.5 - upper[:, 1][edge]) * slope[edge]
    return crossing[edge], row, x, (2 * down - 1)[edge]


def _filled(ring: NDArray[np.float64], rows: slice, columns: slice) -> Mask:
    """Of some rows and columns the pixels around whose centre a ring of (N, 2) points winds; it has none elsewhere.

    Each edge is cut with the pixel rows' centre lines that it crosses; from there to the right the winding number
    changes by one.
    """
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if height <= 0 or width <= 0:
        return np.zeros((0, 0), np.bool_)
    _, row, x, turn = row_crossings(ring, np.roll(ring, -1, axis=0), rows, _MOST_CROSSINGS)
    column = np.clip(np.ceil(x - 0.5), columns.start, columns.stop).astype(np.int64) - columns.start
    change = np.zeros((height, width + 1), np.int32)
    np.add.at(change, (row - rows.start, column), turn)
    inside: Mask = np.cumsum(change, axis=1, out=change)[:, :-1] != 0
    return inside


def _line_to_crop(line: NDArray[np.float64], size_hw: tuple[int, int]) -> CroppedMask:
    """The pixels that a line of (N, 2) points passes, sampled so that neighbours stay 8-connected.

    Raises:
        ValueError: it is absurdly long, what lies beside the picture left out.
    """
    height, width = size_hw
    starts, ends = line[:-1], line[1:]
    lowest, highest = np.minimum(starts, ends), np.maximum(starts, ends)
    near = ((highest >= 0) & (lowest <= (width, height))).all(axis=1)
    steps = np.ceil((highest - lowest).max(axis=1, initial=0.0) * 2).astype(np.int64) + 1
    samples = int(steps[near].sum())
    if samples > _MOST_SAMPLES:
        raise ValueError(
            f"expected a line of at most {_MOST_SAMPLES // 2} px in all, got about {samples // 2} px: "
            "it goes back and forth, or far beyond the picture; draw it anew"
        )
    rows, columns = _window(np.concatenate([line - 1, line + 1]), size_hw)  # whole pixels, also of a rounded rim
    crop = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    corner_xy = columns.start, rows.start
    for edge in np.flatnonzero(near).tolist():
        points = np.linspace(starts[edge], ends[edge], int(steps[edge]), endpoint=False)
        _mark_points(points, crop, corner_xy, size_hw)
    _mark_points(line[-1:], crop, corner_xy, size_hw)
    return CroppedMask.of(crop, corner_xy, size_hw)


def _mark_points(
    points: NDArray[np.float64], crop: Mask, corner_xy: tuple[int, int], size_hw: tuple[int, int]
) -> None:
    """Set the pixels that (N, 2) points lie in; a point on the picture's right or lower edge is in the last pixel."""
    height, width = size_hw
    pixels = np.floor(points).astype(np.int64)
    pixels[:, 0] -= pixels[:, 0] == width
    pixels[:, 1] -= pixels[:, 1] == height
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    columns, rows = (pixels[inside] - corner_xy).T
    crop[rows, columns] = True


def _window(points: NDArray[np.float64], size_hw: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the picture that can hold anything of a shape with these extreme points."""
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    x0, y0 = (int(value) for value in np.clip(low, 0, [size_hw[1], size_hw[0]]))
    x1, y1 = (int(value) for value in np.clip(high, 0, [size_hw[1], size_hw[0]]))
    return slice(y0, y1), slice(x0, x1)


def _bands(rows: slice, columns: slice) -> Iterator[slice]:
    """Rows in turn, as many at once as have few pixels in these columns."""
    height = max(_BAND_PX // max(columns.stop - columns.start, 1), 1)
    for first in range(rows.start, rows.stop, height):
        yield slice(first, min(first + height, rows.stop))


def _from_point(
    point: Sequence[float] | NDArray[np.float64], rows: slice, columns: slice
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far right, (1, w), and down, (h, 1), of a point xy the pixels' centres are."""
    right = np.arange(columns.start, columns.stop)[None, :] + 0.5 - point[0]
    down = np.arange(rows.start, rows.stop)[:, None] + 0.5 - point[1]
    return right, down


def _check_points(points: ArrayLike, least: int) -> NDArray[np.float64]:
    array = np.asarray(points, np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) < least:
        raise ValueError(f"expected at least {least} points as (N, 2), got shape {array.shape}")
    if not np.isfinite(array).all() or np.abs(array).max() > MAX_COORDINATE:
        raise ValueError(f"expected finite coordinates within {MAX_COORDINATE:g} px of the picture")
    return array
