"""Prompts' regions as masks: what the region sampler of the model pools over. The same for service and training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import PromptError
from xsam_backend.geometry.masks import check_mask
from xsam_backend.geometry.raster import disc_to_mask, polygon_to_mask
from xsam_backend.prompts import Box, Point, Region

CLICK_RADIUS_SHARE = 0.01
"""A click stands for a disc of this radius, as share of the picture's longer side: 6.4 px at 640 px."""


def region_mask(
    region: Region, size_hw: tuple[int, int], click_radius_share: float = CLICK_RADIUS_SHARE
) -> NDArray[np.bool_]:
    """bool (H, W): the pixels that one region points at, at least one. A click's sign does not matter here.

    Raises:
        PromptError: the region lies outside the picture, holds no pixel, or is a mask of another size.
    """
    try:
        if isinstance(region, Point):
            mask = disc_to_mask(region.x_px, region.y_px, click_radius_share * max(size_hw), size_hw)
        elif isinstance(region, Box):
            mask = polygon_to_mask(region.corners, size_hw)
        else:
            mask = check_mask(region.mask, size_hw)
    except ValueError as error:
        raise PromptError(f"a region that can't be drawn: {error}") from error
    if not mask.any():
        raise PromptError(
            f"expected a region inside the picture of {size_hw[1]} x {size_hw[0]} px (width x height), "
            f"got {_in_words(region)}: it holds no pixel"
        )
    return mask


def regions_mask(
    regions: Sequence[Region], size_hw: tuple[int, int], click_radius_share: float = CLICK_RADIUS_SHARE
) -> NDArray[np.bool_]:
    """bool (H, W): all regions together that say "this": everything but negative clicks.

    Raises:
        PromptError: as ``region_mask``, or none of the regions says "this".
    """
    wanted = [region for region in regions if not isinstance(region, Point) or region.positive]
    if not wanted:
        raise PromptError("expected a positive click, a box or a stroke, got none: click on the object first")
    union, *others = (region_mask(region, size_hw, click_radius_share) for region in wanted)
    for mask in others:
        union = union | mask
    return union


def _in_words(region: Region) -> str:
    if isinstance(region, Point):
        return f"a click at ({region.x_px:g}, {region.y_px:g})"
    if isinstance(region, Box):
        return f"a box at ({region.x_px:g}, {region.y_px:g}), {region.width_px:g} x {region.height_px:g} px"
    return "an empty mask"
