"""Whether regions, as Label Studio holds them, are the objects that are on a painted picture: all, once, in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from ls_client import Region
from numpy.typing import NDArray
from painted import SIZE_HW

from xsam_backend.geometry.masks import mask_to_box_xyxy
from xsam_backend.labelstudio.regions import geometry_of, read_region, region_labels, with_labels_beside
from xsam_backend.prompts import Point
from xsam_backend.region_masks import region_mask

Mask = NDArray[np.bool_]

RIM_PX = 2
"""How far sides may lie from where they should."""


@dataclass(frozen=True)
class Drawn:
    """One object of a result: a region and the parts below it."""

    label: str | None
    regions: tuple[Region, ...]

    @property
    def geometry(self) -> str:
        return geometry_of(self.regions[0])

    @property
    def mask(self) -> Mask:
        masks = [region_mask(read_region(region, SIZE_HW), SIZE_HW) for region in self.regions]
        return np.any(masks, axis=0)


def objects_of(result: Sequence[Region], item_index: int | None = None) -> list[Drawn]:
    """Texts and prompts aside, by the first region of each, on one picture."""
    drawn: dict[str, list[Region]] = {}
    for region in with_labels_beside([one for one in result if one["type"] != "textarea"]):
        assert region.get("item_index") == item_index
        assert (region["original_height"], region["original_width"]) == SIZE_HW
        drawn.setdefault(str(region.get("parentID") or region["id"]), []).append(dict(region))
    found = []
    for regions in drawn.values():
        labels = {region_labels(region) for region in regions}
        assert len(labels) == 1, "parts of an object have its label"
        (label,) = labels
        found.append(Drawn(label[0] if label else None, tuple(regions)))
    return found


def assert_found(
    result: Sequence[Region],
    expected: Sequence[tuple[str | None, Mask]],
    *,
    turned: bool = False,
    item_index: int | None = None,
) -> None:
    """Each of the expected is there once, in its place and with its label, and nothing else is."""
    ids = [region["id"] for region in result if region["type"] not in ("labels", "textarea")]
    assert len(ids) == len(set(ids))
    left = objects_of(result, item_index)
    assert sorted(str(one.label) for one in left) == sorted(str(label) for label, _ in expected)
    for label, mask in expected:
        mine = [one for one in left if one.label == label and lies(one, mask, turned=turned)]
        assert len(mine) == 1, f"{len(mine)} regions of {label} where {mask_to_box_xyxy(mask)} is: {left}"
        left.remove(mine[0])


def lies(drawn: Drawn, mask: Mask, *, turned: bool = False) -> bool:
    """Whether an object is what its tag makes of a mask."""
    if drawn.geometry == "keypoint":
        return len(drawn.regions) == 1 and is_inside(drawn.regions[0], mask)
    found = drawn.mask
    if drawn.geometry == "rectangle" and turned:
        return is_tight(found, mask)
    if drawn.geometry == "rectangle":
        (region,) = drawn.regions
        return region["value"]["rotation"] == 0 and are_near(found, mask)
    if drawn.geometry == "ellipse":
        return is_ellipse_of(drawn.regions[0], mask)
    return iou(found, mask) > (0.97 if drawn.geometry == "polygon" else 0.9999)


def iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def is_inside(region: Region, mask: Mask) -> bool:
    point = read_region(region, SIZE_HW)
    assert isinstance(point, Point)
    return bool(mask[int(point.y_px), int(point.x_px)])


def are_near(found: Mask, mask: Mask) -> bool:
    """Whether both have one box."""
    return bool(np.allclose(mask_to_box_xyxy(found), mask_to_box_xyxy(mask), atol=RIM_PX))  # type: ignore[arg-type]


def is_tight(found: Mask, mask: Mask) -> bool:
    """Whether a turned rectangle has all of the mask in it, and is hardly larger than the smallest that has."""
    ys, xs = np.nonzero(mask)
    corners = np.concatenate([np.stack([xs + dx, ys + dy], 1) for dx in (0, 1) for dy in (0, 1)])
    sides = cv2.minAreaRect(corners.astype(np.float32))[1]
    return bool((found & mask).sum() > 0.98 * mask.sum() and found.sum() < 1.08 * sides[0] * sides[1])


def is_ellipse_of(region: Region, mask: Mask) -> bool:
    """Whether it has the mask's centre and its spread across and down, but for a radius that filled the picture."""
    ys, xs = np.nonzero(mask)
    value, (height, width) = region["value"], SIZE_HW
    centre = np.array([value["x"] * width, value["y"] * height]) / 100
    if not np.allclose(centre, [xs.mean() + 0.5, ys.mean() + 0.5], atol=RIM_PX):
        return False
    turn = np.deg2rad(value["rotation"])
    radii = np.array([value["radiusX"] * width, value["radiusY"] * height]) / 100
    if 50 in (value["radiusX"], value["radiusY"]):
        return True
    across = np.hypot(radii[0] * np.cos(turn), radii[1] * np.sin(turn))
    down = np.hypot(radii[0] * np.sin(turn), radii[1] * np.cos(turn))
    return bool(np.allclose([across, down], [2 * xs.std(), 2 * ys.std()], rtol=0.05, atol=RIM_PX))
