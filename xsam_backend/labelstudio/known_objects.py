"""What an annotator has on a picture already, so that "all like this" doesn't bring it a second time.

Label Studio sends an interactive request's task with its drafts and annotations, but doesn't say which of them is
being edited. It is taken to be the draft that was saved last (they are saved while somebody works), else the
annotation if there is just one. Of several annotations without a draft none is taken: what one annotator has drawn
must not be missing from another one's answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xsam_backend.geometry.masks import Mask, mask_iou, mask_to_box_xyxy
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.annotations import read_annotation

SAME_IOU = 0.5
"""Masks that overlap more are of one object, as measures count it."""


def edited_result(task: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The regions of the annotation that is being edited, by the rule above; none where it can't be told."""
    drafts, annotations = (
        [row for row in rows if isinstance(row, Mapping)] if isinstance(rows := task.get(key), list) else []
        for key in ("drafts", "annotations")
    )
    chosen = max(drafts, key=lambda draft: str(draft.get("updated_at")), default=None)
    if chosen is None and len(annotations) == 1:
        chosen = annotations[0]
    result = chosen.get("result") if chosen is not None else None
    return tuple(region for region in result if isinstance(region, Mapping)) if isinstance(result, list) else ()


def known_objects(
    result: Sequence[Mapping[str, Any]],
    context: Mapping[str, Any],
    size_hw: tuple[int, int],
    to_name: str,
    item_index: int | None,
) -> tuple[Mask, ...]:
    """Masks of the objects in ``result`` on one picture of (height, width). What ``context`` asks by is none."""
    asked = {region.get("id") for region in context.get("result", ()) if isinstance(region, Mapping)}
    drawn = [region for region in result if region.get("id") not in asked]
    return tuple(region.mask for region in read_annotation(drawn, size_hw, to_name, item_index).regions)


def without_known(found: Instances, known: Sequence[Mask]) -> Instances:
    """Those that are none of the known objects, in their order."""
    boxed = [(mask, box) for mask in known if (box := mask_to_box_xyxy(mask)) is not None]
    return found.select(
        [index for index, mask in enumerate(found.masks) if not any(_same(mask, *one) for one in boxed)]
    )


def _same(mask: Mask, known: Mask, known_box: tuple[int, int, int, int]) -> bool:
    """Whether two masks are of one object. Only the part around both is compared: pictures are large."""
    box = mask_to_box_xyxy(mask)
    if box is None:
        return False
    (left, top), (right, bottom) = np.minimum(box[:2], known_box[:2]), np.maximum(box[2:], known_box[2:])
    common = np.minimum(box[2:], known_box[2:]) - np.maximum(box[:2], known_box[:2])
    if common.min() <= 0:
        return False
    return mask_iou(mask[top:bottom, left:right], known[top:bottom, left:right]) > SAME_IOU
