"""What an annotator has on a picture already, so that "all like this" and phrases don't bring it a second time.

Label Studio sends an interactive request's task with its drafts, annotations and predictions, but doesn't say which
of them is being edited. It is taken to be the draft that was saved last (they are saved while somebody works), else
the annotation if there is just one. Of several annotations without a draft none is taken: what one annotator has
drawn should not be missing from another one's answer. The second one of a task, before a draft is saved, can't be
told from the first one who opens the annotation again, and misses it. Where there is neither, nobody has touched the
task: the page then shows the regions of its project's model version as the annotation's own; those are the newest
prediction's.

What somebody takes away counts until the page has saved a draft without it, five seconds after the last change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.instances import Answer, Instances
from xsam_backend.labelstudio.annotations import read_annotation
from xsam_backend.prompts import Form, Prompt, Task

SAME_IOU = 0.5
"""What overlaps more is one object, as measures count it."""


def edited_result(task: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The regions of the annotation that is being edited, by the rule above; none where it can't be told."""
    drafts, annotations, predictions = (
        [row for row in rows if isinstance(row, Mapping)] if isinstance(rows := task.get(key), list) else []
        for key in ("drafts", "annotations", "predictions")
    )
    chosen = max(drafts, key=lambda draft: str(draft.get("updated_at") or ""), default=None)
    if chosen is None and len(annotations) == 1:
        chosen = annotations[0]
    if chosen is None and not annotations:
        last_first = reversed(predictions)  # of equals, ``max`` takes the first
        chosen = max(last_first, key=lambda prediction: str(prediction.get("created_at") or ""), default=None)
    result = chosen.get("result") if chosen is not None else None
    return tuple(region for region in result if isinstance(region, Mapping)) if isinstance(result, list) else ()


@dataclass(frozen=True, eq=False)
class KnownObject:
    """An object that is annotated; not empty.

    Attributes:
        mask: what was drawn.
        is_outline: whether that is its own outline, and not a rectangle or an ellipse around it.
        label: what it was drawn as; None without.
    """

    mask: CroppedMask
    is_outline: bool
    label: str | None = None


def known_objects(
    result: Sequence[Mapping[str, Any]],
    context: Mapping[str, Any],
    size_hw: tuple[int, int],
    to_name: str,
    item_index: int | None,
) -> tuple[KnownObject, ...]:
    """The objects in ``result`` on one picture of (height, width). What ``context`` asks by is none."""
    asked = {str(region.get("id")) for region in context.get("result", ()) if isinstance(region, Mapping)}
    others = [region for region in result if str(region.get("id")) not in asked]
    drawn = read_annotation(others, size_hw, to_name, item_index).regions
    return tuple(KnownObject(one.cropped, one.is_outline, one.label) for one in drawn)


def without_known(found: Instances, known: Sequence[KnownObject], *, heeds_labels: bool = False) -> Instances:
    """Those that are none of the known objects, in their order.

    Args:
        heeds_labels: an object that is annotated with another label is none of them; one without a label still is.
    """
    boxes = np.array([one.mask.box_xyxy for one in known], np.int64).reshape(-1, 4)

    def is_known(mask: CroppedMask, label: str | None) -> bool:
        near = (known[index] for index in _meeting(mask, boxes))
        return any((not heeds_labels or one.label in (None, label)) and _is_same(mask, one) for one in near)

    pairs = enumerate(zip(found.cropped, found.labels, strict=True))
    return found.select([index for index, (mask, label) in pairs if not is_known(mask, label)])


def heeds_known(prompt: Prompt) -> bool:
    """Whether a prompt asks for all of a kind, and so for none that is there already."""
    names = prompt.task in (Task.OPEN_VOCABULARY, Task.GENERIC) and prompt.form is Form.OBJECTS
    return names or prompt.task is Task.VGD


def new_finds(answer: Answer, prompt: Prompt, known: Sequence[KnownObject]) -> Answer:
    """The answer without the objects that the annotator has already; where nothing is left of what examples or a
    typed text found, it says so.

    What looks alike is the same whatever it was called. What was asked for by its name may be there under another
    one: as a part of something else, or by mistake.
    """
    if not heeds_known(prompt):
        return answer
    found = answer.instances
    new = without_known(found, known, heeds_labels=prompt.task is not Task.VGD)
    reasons = [answer.reason] if answer.reason else []
    for text, count in Counter(found.typed).items():
        if text not in new.typed:
            alike = f"all {count} that are like it are annotated already"
            reasons.append(f"{text!r}: all that was found is annotated already" if text else alike)
    return replace(answer, instances=new, reason="; ".join(reasons))


def _meeting(mask: CroppedMask, boxes_xyxy: NDArray[np.int64]) -> list[int]:
    """Which of (N, 4) boxes have a pixel in the mask's box."""
    if mask.box_xyxy is None:
        return []
    x0, y0, x1, y1 = mask.box_xyxy
    apart = (boxes_xyxy[:, :2] >= (x1, y1)) | (boxes_xyxy[:, 2:] <= (x0, y0))
    meeting: list[int] = np.flatnonzero(~apart.any(axis=1)).tolist()
    return meeting


def _is_same(mask: CroppedMask, known: KnownObject) -> bool:
    """Whether two are one object: by their pixels, or by their boxes where no more is known."""
    shared = mask.shared_box_xyxy(known.mask)
    if shared is None:
        return False
    if known.is_outline:
        common, one, other = mask.shared_px(known.mask), mask.area_px, known.mask.area_px
    else:
        x0, y0, x1, y1 = shared
        common, one, other = (x1 - x0) * (y1 - y0), mask.crop.size, known.mask.crop.size
    return common > SAME_IOU * (one + other - common)
