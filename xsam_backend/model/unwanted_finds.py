"""What an annotator takes away from "all like this" by clicks that say "but not that one"."""

from __future__ import annotations

from collections.abc import Sequence

from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.instances import Answer, Instances
from xsam_backend.prompts import Box, Point, Region, is_negative
from xsam_backend.region_masks import region_mask

SAME_SHARE = 0.5
"""A find is an example's own if it has more of what was drawn, or if their boxes have a larger IoU."""


def without_unwanted(found: Instances, regions: Sequence[Region]) -> Answer:
    """The finds, best first, without those that a negative click lies on.

    An example never loses its last find so: the best of its own stays. Where all that a click lies on stays, or
    nothing is left, the reason says so.

    Args:
        regions: examples, and negative clicks.
    """
    clicks = [region for region in regions if isinstance(region, Point) and is_negative(region)]
    hit = [[i for i, mask in enumerate(found.cropped) if _covers(mask, click)] for click in clicks]
    unwanted = {index for indices in hit for index in indices}
    for example in (region for region in regions if not is_negative(region)) if unwanted else ():
        own = _own(found, example)
        if own and unwanted.issuperset(own):
            unwanted.remove(own[0])
    kept = found.select([index for index in range(len(found)) if index not in unwanted])
    if len(found) and not len(kept):
        return Answer(kept, reason=f"negative clicks are on all {len(found)} that are like it")
    if any(indices and not unwanted.intersection(indices) for indices in hit):
        return Answer(kept, reason="a negative click is on the example's own find, which stays")
    return Answer(kept)


def _own(found: Instances, example: Region) -> list[int]:
    """The finds that show an example, best first."""
    if isinstance(example, Point):
        return [index for index, mask in enumerate(found.cropped) if _covers(mask, example)]
    drawn = CroppedMask.of(region_mask(example, found.size_hw))
    is_box = isinstance(example, Box)
    return [
        index
        for index, mask in enumerate(found.cropped)
        if mask.shared_px(drawn) > SAME_SHARE * drawn.area_px or (is_box and _box_iou(mask, drawn) > SAME_SHARE)
    ]


def _covers(mask: CroppedMask, click: Point) -> bool:
    height, width = mask.size_hw
    column, row = min(int(click.x_px), width - 1), min(int(click.y_px), height - 1)
    x, y = column - mask.corner_xy[0], row - mask.corner_xy[1]
    return 0 <= y < mask.crop.shape[0] and 0 <= x < mask.crop.shape[1] and bool(mask.crop[y, x])


def _box_iou(one: CroppedMask, other: CroppedMask) -> float:
    shared = one.shared_box_xyxy(other)
    if shared is None:
        return 0.0
    x0, y0, x1, y1 = shared
    common = (x1 - x0) * (y1 - y0)
    return common / (one.crop.size + other.crop.size - common)
