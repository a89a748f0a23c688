"""COCO's ``segmentation`` values -> masks, by our rule for outlines or by COCO's own.

The two differ along the rim by up to a pixel. Ours is how the service fills what annotators draw, so training uses
it. Published numbers are counted on COCO's; readers of benchmarks use that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from faster_coco_eval import mask as coco_mask
from numpy.typing import NDArray

from xsam_backend.geometry.coco_rle import coco_rle_to_mask
from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.raster import MAX_COORDINATE, polygon_to_mask

ToMask = Callable[[object, tuple[int, int]], Mask]
"""From a ``segmentation`` and (height, width) to bool (H, W); raises ValueError for what is damaged."""


def segmentation_to_mask(segmentation: object, size_hw: tuple[int, int]) -> Mask:
    """bool (H, W) of a COCO ``segmentation``: a list of flat polygons [x0, y0, x1, y1, ...] (united), or an RLE.

    Polygons cover the pixels whose centres they hold, which is within a pixel's width of pycocotools' outline.

    Raises:
        ValueError: neither of these, a polygon of fewer than three points, or an RLE of another size.
    """
    if isinstance(segmentation, Mapping):
        return rle_to_mask(segmentation, size_hw)
    union = np.zeros(size_hw, np.bool_)
    for flat in _polygons(segmentation):
        if len(flat) < 6 or len(flat) % 2:
            raise ValueError(f"polygon: expected an even number of at least 6 values, got {len(flat)}")
        union |= polygon_to_mask(flat.reshape(-1, 2), size_hw)
    return union


def segmentation_as_coco(segmentation: object, size_hw: tuple[int, int]) -> Mask:
    """The same, with polygons filled pixel by pixel as pycocotools fills them.

    Polygons of fewer than three points are passed over, as COCO's users do: its files hold some. Besides polygons and
    an RLE, a list of RLEs is united (RefCOCOg and GranD-f have such).

    Raises:
        ValueError: none of these, nothing but polygons without an area, coordinates far outside any picture, or an
            RLE of another size.
    """
    if isinstance(segmentation, Mapping):
        return rle_to_mask(segmentation, size_hw)
    if isinstance(segmentation, list) and segmentation and all(isinstance(part, Mapping) for part in segmentation):
        union: Mask = np.any([rle_to_mask(part, size_hw) for part in segmentation], axis=0)
        return union
    polygons = [flat for flat in _polygons(segmentation) if len(flat) >= 6 and len(flat) % 2 == 0]
    if not polygons:
        raise ValueError("segmentation: expected polygons of at least 6 values, an even number each, got none")
    for flat in polygons:
        if not np.isfinite(flat).all() or np.abs(flat).max() > MAX_COORDINATE:
            raise ValueError(f"polygon: expected finite coordinates within {MAX_COORDINATE:g} px of the picture")
    parts = coco_mask.frPyObjects([flat.tolist() for flat in polygons], *size_hw)
    return coco_rle_to_mask(coco_mask.merge(parts))


def rle_to_mask(coco_rle: Mapping[str, object], size_hw: tuple[int, int]) -> Mask:
    """bool (H, W) of a COCO RLE that must have this size.

    Raises:
        ValueError: another size, or a damaged RLE.
    """
    size = coco_rle.get("size")
    if isinstance(size, list | tuple) and tuple(size) != size_hw:
        raise ValueError(f"RLE: expected size {size_hw}, got {tuple(size)}")
    return coco_rle_to_mask(coco_rle)


def _polygons(segmentation: object) -> list[NDArray[np.float64]]:
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation: expected polygons or an RLE, got {type(segmentation).__name__}")
    try:
        polygons = [np.asarray(flat, np.float64) for flat in segmentation]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("segmentation: expected lists of numbers as polygons") from error
    if any(flat.ndim != 1 for flat in polygons):
        raise ValueError("segmentation: expected flat polygons [x0, y0, x1, y1, ...]")
    return polygons
