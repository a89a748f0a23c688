"""What the labeling page sends where somebody points at things of a painted picture."""

from __future__ import annotations

import secrets

import numpy as np
from ls_client import Region, click
from numpy.typing import NDArray
from painted import SIZE_HW

Mask = NDArray[np.bool_]

LOOSE_PX = 3
"""How far a box is from what it is drawn around."""


def click_on(mask: Mask, label: str, *, positive: bool = True) -> Region:
    """A click in the middle."""
    ys, xs = np.nonzero(mask)
    x_pct, y_pct = 100 * (xs.mean() + 0.5) / SIZE_HW[1], 100 * (ys.mean() + 0.5) / SIZE_HW[0]
    return click(x_pct, y_pct, label, positive=positive, region_id=secrets.token_hex(5))


def box_around(mask: Mask, label: str) -> Region:
    """A box, not quite tight."""
    ys, xs = np.nonzero(mask)
    x0, y0 = xs.min() - LOOSE_PX, ys.min() - LOOSE_PX
    return box_at(label, x0, y0, xs.max() + 1 + LOOSE_PX - x0, ys.max() + 1 + LOOSE_PX - y0)


def box_at(
    label: str, x_px: float, y_px: float, width_px: float, height_px: float, turned_deg: float = 0.0
) -> Region:
    """A box with its corner at (x, y), turned clockwise about it."""
    height, width = SIZE_HW
    value = {"x": 100 * x_px / width, "y": 100 * y_px / height, "width": 100 * width_px / width}
    value |= {"height": 100 * height_px / height, "rotation": turned_deg}
    return {
        "id": secrets.token_hex(5),
        "type": "rectanglelabels",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, "rectanglelabels": [label]},
        "origin": "manual",
    }
