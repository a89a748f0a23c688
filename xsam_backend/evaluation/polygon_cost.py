"""What a mask costs an annotator who gets it as polygons: vertices to check and drag, at a stated fidelity."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_backend.geometry.masks import Mask, mask_iou
from xsam_backend.geometry.polygons import mask_to_polygons
from xsam_backend.geometry.raster import polygons_to_mask


@dataclass(frozen=True)
class PolygonCost:
    """Of one mask.

    Attributes:
        vertices: of all its polygons together, a hole's included.
        polygons: how many there are.
        iou: what they give with the mask when filled.
    """

    vertices: int
    polygons: int
    iou: float


def polygon_cost(mask: Mask, min_iou: float = 0.98) -> PolygonCost:
    """Of the polygons that the backend writes for a bool (H, W) mask; nothing for an empty one.

    Raises:
        ValueError: ``min_iou`` is not in 0.5..1, or ``mask`` is no mask.
    """
    polygons = mask_to_polygons(mask, min_iou)
    filled = polygons_to_mask(polygons, (mask.shape[0], mask.shape[1]))
    return PolygonCost(sum(len(polygon) for polygon in polygons), len(polygons), mask_iou(filled, mask))
