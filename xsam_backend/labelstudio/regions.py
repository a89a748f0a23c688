"""One region of Label Studio, as it comes in a context or an annotation -> a shape in pixels.

Values are per cent of the picture as the browser shows it; pixels are those of the picture that we hold, (height,
width) in ``size_hw``. A brush or bitmask made for another size of the same picture is scaled (nearest pixel).
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from xsam_backend.errors import PromptError
from xsam_backend.geometry import raster
from xsam_backend.geometry.boxes import pct_to_px
from xsam_backend.geometry.brush_rle import brush_rle_to_crop
from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.prompts import Box, MaskRegion, Point, Region

MAX_MASK_PX = 100_000_000
"""Largest brush or bitmask that is unpacked."""

_SLACK_PCT = 1.0
"""How far outside the picture a click may lie (a rounded rim); it is moved onto the rim."""

_FAR_PCT = 1000.0
"""Numbers beyond this are a mistake, not a shape that reaches over the rim."""

_OPAQUE = 128


def region_labels(region: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels a region carries: ``value[type]``, or ``value["labels"]``; none for plain tags."""
    value = region.get("value")
    if not isinstance(value, Mapping):
        return ()
    for key in (region.get("type"), "labels"):
        labels = value.get(key) if isinstance(key, str) and key.endswith("labels") else None
        if isinstance(labels, Sequence) and not isinstance(labels, str) and labels:
            return tuple(label for label in labels if isinstance(label, str) and label)
    return ()


def with_labels_beside(regions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The drawn regions, in order, each with its label.

    Where a plain tag stands beside ``Labels``, Label Studio writes several results under one id: the shape, and the
    shape again as type "labels", once for each ``Labels`` tag. Those are left out, their labels are put on the shape.
    """
    beside: dict[str, list[str]] = {}
    for region in regions:
        if region.get("type") == "labels":
            beside.setdefault(str(region.get("id")), []).extend(region_labels(region))
    joined: list[Mapping[str, Any]] = []
    for region in regions:
        if region.get("type") == "labels":
            continue
        labels = beside.get(str(region.get("id")))
        if labels and not region_labels(region) and isinstance(region.get("value"), Mapping):
            region = {**region, "value": {**region["value"], "labels": labels}}
        joined.append(region)
    return joined


def region_texts(region: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of a TextArea region.

    Raises:
        PromptError: ``value.text`` is neither a text nor a list of texts.
    """
    texts = _value(region).get("text")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise PromptError(f"{_name(region)}: expected value.text to be a list of texts, got {type(texts).__name__}")
    return tuple(texts)


def geometry_of(region: Mapping[str, Any]) -> str:
    """What a region draws: its ``type`` without "labels": "polygon", "keypoint", "textarea", "choices"..."""
    kind = region.get("type")
    return kind.lower().removesuffix("labels") if isinstance(kind, str) else ""


def read_region(region: Mapping[str, Any], size_hw: tuple[int, int]) -> Region:
    """The shape of one drawn region in a picture of (height, width).

    Keypoints become points (negative where ``is_positive`` is false), rectangles boxes, everything else masks.

    Raises:
        PromptError: an unknown type; numbers that are missing, not finite or out of range; a shape outside the
            picture; a brush or bitmask that cannot be unpacked.
    """
    shape = _read(region, size_hw)
    if isinstance(shape, CroppedMask):
        return MaskRegion(shape.whole(), is_outline=geometry_of(region) in _OUTLINES)
    return shape


def read_area(region: Mapping[str, Any], size_hw: tuple[int, int]) -> CroppedMask:
    """The pixels of one drawn region in a picture of (height, width); of those, only their box is ever in memory.

    Raises:
        PromptError: as ``read_region``, and for a keypoint.
    """
    shape = _read(region, size_hw)
    if isinstance(shape, Point):
        raise PromptError(f"{_name(region)}: expected a shape with an area, got a keypoint")
    return raster.polygon_to_crop(shape.corners, size_hw) if isinstance(shape, Box) else shape


def _read(region: Mapping[str, Any], size_hw: tuple[int, int]) -> Point | Box | CroppedMask:
    geometry = geometry_of(region)
    if geometry not in _READERS:
        raise PromptError(
            f"{_name(region)}: type {region.get('type')!r} draws nothing that can be asked about; expected one of "
            f"{', '.join(sorted(_READERS))}, each also with 'labels' at its end"
        )
    try:
        return _READERS[geometry](region, size_hw)
    except ValueError as error:
        raise PromptError(f"{_name(region)}: {error}") from error


def _read_keypoint(region: Mapping[str, Any], size_hw: tuple[int, int]) -> Point:
    x_pct, y_pct = (_number(region, key) for key in ("x", "y"))
    for key, pct in (("x", x_pct), ("y", y_pct)):
        if not -_SLACK_PCT <= pct <= 100 + _SLACK_PCT:
            raise ValueError(f"the click's {key} is {pct:g} per cent, expected 0 to 100: click on the picture")
    x_px, y_px = pct_to_px(np.clip([x_pct, y_pct], 0.0, 100.0), size_hw).tolist()
    return Point(x_px, y_px, positive=region.get("is_positive") is not False)


def _read_rectangle(region: Mapping[str, Any], size_hw: tuple[int, int]) -> Box:
    x, y, width, height = (_number(region, key) for key in ("x", "y", "width", "height"))
    rotation = _number(region, "rotation", 0.0)
    if width <= 0 or height <= 0:
        raise ValueError(f"the box is {width:g} x {height:g} per cent: draw one with an area")
    if rotation % 360 == 0:
        x0, y0, x1, y1 = np.clip([x, y, x + width, y + height], 0.0, 100.0).tolist()
        x, y, width, height = x0, y0, x1 - x0, y1 - y0
        if width <= 0 or height <= 0:
            raise ValueError("the box lies outside the picture: draw it on the picture")
    x_px, y_px, width_px, height_px = pct_to_px([x, y, width, height], size_hw).tolist()
    box = Box(x_px, y_px, width_px, height_px, rotation % 360)
    _check_inside(raster.polygon_to_crop(box.corners, size_hw))
    return box


def _read_polygon(region: Mapping[str, Any], size_hw: tuple[int, int]) -> CroppedMask:
    points = _value(region).get("points")
    if not isinstance(points, list) or len(points) < 3:
        raise ValueError("expected value.points with at least three [x, y]")
    try:
        array = np.asarray(points, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("expected value.points to hold pairs of numbers") from error
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all() or np.abs(array).max() > _FAR_PCT:
        raise ValueError("expected value.points to hold pairs of finite numbers in per cent")
    return _check_inside(raster.polygon_to_crop(pct_to_px(array, size_hw), size_hw))


def _read_ellipse(region: Mapping[str, Any], size_hw: tuple[int, int]) -> CroppedMask:
    x, y, radius_x, radius_y = (_number(region, key) for key in ("x", "y", "radiusX", "radiusY"))
    x_px, y_px, radius_x_px, radius_y_px = pct_to_px([x, y, radius_x, radius_y], size_hw).tolist()
    rotation = _number(region, "rotation", 0.0)
    return _check_inside(raster.ellipse_to_crop(x_px, y_px, radius_x_px, radius_y_px, size_hw, rotation))


def _read_brush(region: Mapping[str, Any], size_hw: tuple[int, int]) -> CroppedMask:
    value = _value(region)
    rle = value.get("rle")
    if value.get("format", "rle") != "rle" or not isinstance(rle, list) or not rle:
        raise ValueError("expected value.rle, a list of bytes, with value.format 'rle'")
    return _check_inside(brush_rle_to_crop(rle, _drawn_size_hw(region, size_hw)).resized(size_hw))


def _read_bitmask(region: Mapping[str, Any], size_hw: tuple[int, int]) -> CroppedMask:
    url = _value(region).get("imageDataURL")
    if not isinstance(url, str) or not url.startswith("data:image/png;base64,"):
        raise ValueError("expected value.imageDataURL to begin with 'data:image/png;base64,'")
    try:
        data = base64.b64decode(url.partition(",")[2], validate=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG",)) as png:
                _check_size(png.height, png.width)
                # Only alpha counts, as in the editor: a PNG without alpha paints the whole picture.
                alpha = (png if png.mode == "RGBA" else png.convert("RGBA")).getchannel("A")
    except (binascii.Error, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"value.imageDataURL holds no readable PNG ({error})") from error
    painted = alpha.point([255 * (value >= _OPAQUE) for value in range(256)])
    box = painted.getbbox() or (0, 0, 0, 0)
    crop = CroppedMask.of(np.asarray(painted.crop(box), np.bool_), box[:2], (alpha.height, alpha.width))
    return _check_inside(crop.resized(size_hw))


_OUTLINES = frozenset({"polygon", "ellipse"})
"""Drawn around an object, and so no stroke on it."""

_READERS: Mapping[str, Callable[[Mapping[str, Any], tuple[int, int]], Point | Box | CroppedMask]] = {
    "keypoint": _read_keypoint,
    "rectangle": _read_rectangle,
    "polygon": _read_polygon,
    "ellipse": _read_ellipse,
    "brush": _read_brush,
    "bitmask": _read_bitmask,
}


def _check_inside(mask: CroppedMask) -> CroppedMask:
    if mask.is_empty:
        raise ValueError("the shape covers no pixel of the picture: draw it on the picture")
    return mask


def _drawn_size_hw(region: Mapping[str, Any], size_hw: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the picture that a brush was drawn on: ``original_*``, else the picture we hold."""
    height, width = region.get("original_height"), region.get("original_width")
    if height is None or width is None:
        return size_hw
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, int) or side <= 0:
            raise ValueError(f"original_width x original_height is {width!r} x {height!r}, expected whole numbers")
    _check_size(height, width)
    return height, width


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_MASK_PX:
        raise ValueError(f"a mask of {width} x {height} pixels is larger than {MAX_MASK_PX} pixels")


def _number(region: Mapping[str, Any], key: str, default: float | None = None) -> float:
    number = _value(region).get(key, default)
    is_finite = isinstance(number, int) or (isinstance(number, float) and math.isfinite(number))
    if isinstance(number, bool) or not is_finite:
        raise ValueError(f"expected value.{key} to be a finite number, got {number!r}")
    if abs(number) > _FAR_PCT:  # compared as it is: there are whole numbers that no float can hold
        raise ValueError(f"value.{key} is {str(number)[:20]}, expected per cent of the picture, 0 to 100")
    return float(number)


def _value(region: Mapping[str, Any]) -> Mapping[str, Any]:
    value = region.get("value")
    if not isinstance(value, Mapping):
        raise PromptError(f"{_name(region)}: expected an object as 'value', got {type(value).__name__}")
    return value


def _name(region: Mapping[str, Any]) -> str:
    return f"region '{region.get('id', '?')}'"
