"""What an annotator has on a picture already, so that "all like this" doesn't bring it a second time.

Label Studio sends an interactive request's task with its drafts and annotations, but doesn't say which of them is
being edited. It is taken to be the draft that was saved last (they are saved while somebody works), else the
annotation if there is just one. Of several annotations without a draft none is taken: what one annotator has drawn
should not be missing from another one's answer. The second one of a task, before a draft is saved, can't be told from
the first one who opens the annotation again, and misses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xsam_backend.geometry.masks import Mask, mask_to_box_xyxy
from xsam_backend.instances import Answer, Instances
from xsam_backend.labelstudio.annotations import read_annotation

SAME_IOU = 0.5
"""What overlaps more is one object, as measures count it."""


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


@dataclass(frozen=True, eq=False)
class KnownObject:
    """An object that is annotated: the box around it, and of its own outline what lies in that box; None for others.

    Attributes:
        box_xyxy: in pixels, maxima exclusive.
        cut: bool (h, w) of the box's size, or None where a rectangle or an ellipse was drawn around it.
    """

    box_xyxy: tuple[int, int, int, int]
    cut: Mask | None


def known_objects(
    result: Sequence[Mapping[str, Any]],
    context: Mapping[str, Any],
    size_hw: tuple[int, int],
    to_name: str,
    item_index: int | None,
) -> tuple[KnownObject, ...]:
    """The objects in ``result`` on one picture of (height, width). What ``context`` asks by is none."""
    asked = {str(region.get("id")) for region in context.get("result", ()) if isinstance(region, Mapping)}
    with_parts: dict[str, list[Mapping[str, Any]]] = {}
    for region in result:
        if str(region.get("id")) not in asked:
            with_parts.setdefault(str(region.get("parentID") or region.get("id")), []).append(region)
    found = []
    for regions in with_parts.values():  # one by one: their masks are as large as the picture
        for drawn in read_annotation(regions, size_hw, to_name, item_index).regions:
            box = mask_to_box_xyxy(drawn.mask)
            if box is not None:
                cut = drawn.mask[_cut(box)].copy() if drawn.is_outline else None
                found.append(KnownObject(box, cut))
    return tuple(found)


def without_known(found: Instances, known: Sequence[KnownObject]) -> Instances:
    """Those that are none of the known objects, in their order."""
    boxes = [mask_to_box_xyxy(mask) for mask in found.masks]
    new = [
        index
        for index, box in enumerate(boxes)
        if box is None or not any(_is_same(found.masks[index], box, one) for one in known)
    ]
    return found.select(new)


def new_finds(answer: Answer, known: Sequence[KnownObject]) -> Answer:
    """The answer without the objects that the annotator has already; where nothing is left, it says so."""
    new = without_known(answer.instances, known)
    if len(answer.instances) and not len(new):
        return Answer(new, reason=f"all {len(answer.instances)} that are like it are annotated already")
    return replace(answer, instances=new)


def _is_same(mask: Mask, box: tuple[int, int, int, int], known: KnownObject) -> bool:
    """Whether two are one object: by their pixels, or by their boxes where no more is known."""
    x0, y0 = np.maximum(box[:2], known.box_xyxy[:2])
    x1, y1 = np.minimum(box[2:], known.box_xyxy[2:])
    if x0 >= x1 or y0 >= y1:
        return False
    if known.cut is None:
        return _iou(int((x1 - x0) * (y1 - y0)), _area(box), _area(known.box_xyxy)) > SAME_IOU
    left, top = known.box_xyxy[:2]
    common = np.count_nonzero(mask[y0:y1, x0:x1] & known.cut[y0 - top : y1 - top, x0 - left : x1 - left])
    return _iou(common, np.count_nonzero(mask[_cut(box)]), np.count_nonzero(known.cut)) > SAME_IOU


def _cut(box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    return slice(box[1], box[3]), slice(box[0], box[2])


def _area(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _iou(common: int, one: int, other: int) -> float:
    return common / (one + other - common)
