"""What annotators accepted or drew -> instances: the way back from ``results``.

Read are drawn regions (polygon, brush, bitmask, rectangle, ellipse). Left out, each with its reason: prompts that
were submitted unaccepted (``is_positive``), keypoints and choices (no area), regions that cannot be read. One bad
region never costs the others.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xsam_backend.errors import PromptError
from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.geometry.masks import Mask
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.regions import geometry_of, read_area, region_labels, with_labels_beside

_AREAS = frozenset({"polygon", "brush", "bitmask", "rectangle", "ellipse"})
_EXACT = frozenset({"polygon", "brush", "bitmask"})


@dataclass(frozen=True, eq=False)
class AnnotatedRegion:
    """One object that an annotator left in an annotation.

    Attributes:
        ids: of the region and of the parts below it; ours, where it came from a prediction.
        label: its first label, or None.
        cropped: all parts together.
        from_name: the control tag it was drawn with.
        geometry: "polygon", "brush", "bitmask", "rectangle" or "ellipse".
        origin: "manual", "prediction" (untouched) or "prediction-changed"; an accepted suggestion says "manual" too.
        score: of the prediction it came from, or None.
    """

    ids: tuple[str, ...]
    label: str | None
    cropped: CroppedMask
    from_name: str
    geometry: str
    origin: str
    score: float | None

    @property
    def mask(self) -> Mask:
        """bool (H, W), as large as the picture; made anew at each use."""
        return self.cropped.whole()

    @property
    def is_outline(self) -> bool:
        """Whether the mask is the object's outline, not a box or an ellipse around it."""
        return self.geometry in _EXACT


@dataclass(frozen=True, eq=False)
class Annotation:
    """The objects of one picture, and why regions were left out: (region id, reason) each."""

    size_hw: tuple[int, int]
    regions: tuple[AnnotatedRegion, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def instances(self) -> Instances:
        """The objects as instances with score 1, in the annotation's order."""
        return Instances(
            tuple(region.cropped for region in self.regions),
            np.ones(len(self.regions), np.float32),
            tuple(region.label for region in self.regions),
            self.size_hw,
        )


def read_annotation(
    result: Sequence[Mapping[str, Any]],
    size_hw: tuple[int, int],
    to_name: str | None = None,
    item_index: int | None = None,
) -> Annotation:
    """The objects in an annotation's (or a prediction's) ``result`` on one picture of (height, width).

    Regions of other pictures (another ``to_name``, or ``item_index`` in a list) are passed over silently. A polygon
    whose ``parentID`` is a polygon of the same label is a part of it.
    """
    drawn: dict[str, AnnotatedRegion] = {}
    parents: dict[str, str] = {}
    left_out: list[tuple[str, str]] = []
    for region in with_labels_beside([region for region in result if _is_here(region, to_name, item_index)]):
        region_id, geometry = str(region.get("id")), geometry_of(region)
        reason = _reason_to_skip(region, geometry)
        if reason is None and region_id in drawn:
            reason = "an id that an earlier region has"
        if reason is not None:
            left_out.append((region_id, reason))
            continue
        try:
            cropped = read_area(region, size_hw)
        except PromptError as error:
            left_out.append((region_id, str(error)))
            continue
        labels = region_labels(region)
        drawn[region_id] = AnnotatedRegion(
            ids=(region_id,),
            label=labels[0] if labels else None,
            cropped=cropped,
            from_name=str(region.get("from_name", "")),
            geometry=geometry,
            origin=str(region.get("origin", "manual")),
            score=_score(region.get("score")),
        )
        if isinstance(region.get("parentID"), str):
            parents[region_id] = region["parentID"]
    return Annotation(size_hw, tuple(_join_parts(drawn, parents)), tuple(left_out))


def picture_size_hw(result: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """(height, width) that the regions say their picture has; None if none says one that a picture can have."""
    for region in result:
        height, width = region.get("original_height"), region.get("original_width")
        if isinstance(height, int) and isinstance(width, int) and 0 < height < 2**31 and 0 < width < 2**31:
            return height, width
    return None


def _is_here(region: object, to_name: str | None, item_index: int | None) -> bool:
    return (
        isinstance(region, Mapping)
        and (to_name is None or region.get("to_name") == to_name)
        and (item_index is None or region.get("item_index", 0) == item_index)
    )


def _reason_to_skip(region: Mapping[str, Any], geometry: str) -> str | None:
    if "is_positive" in region:
        return "a prompt that was submitted, not an object (is_positive)"
    if geometry not in _AREAS:
        return f"type {region.get('type')!r} has no area"
    if geometry == "polygon" and isinstance(region.get("value"), Mapping) and region["value"].get("closed") is False:
        return "an unfinished polygon (closed: false)"
    return None


def _join_parts(drawn: Mapping[str, AnnotatedRegion], parents: Mapping[str, str]) -> list[AnnotatedRegion]:
    """Add parts to the polygon that they hang below; everything else stays as it is, in order."""
    joined = dict(drawn)
    for part_id, parent_id in parents.items():
        part, parent = drawn[part_id], joined.get(parent_id)
        is_part = (
            parent is not None
            and parent_id not in parents
            and part.geometry == parent.geometry == "polygon"
            and part.label == parent.label
        )
        if parent is not None and is_part:
            del joined[part_id]
            changed = "manual" if parent.origin == part.origin == "manual" else "prediction-changed"
            joined[parent_id] = AnnotatedRegion(
                ids=(*parent.ids, part_id),
                label=parent.label,
                cropped=parent.cropped.joined(part.cropped),
                from_name=parent.from_name,
                geometry=parent.geometry,
                origin=parent.origin if parent.origin == part.origin else changed,
                score=parent.score,
            )
    return list(joined.values())


def _score(score: object) -> float | None:
    """A number that a float can hold, or None."""
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    return float(score) if abs(score) <= sys.float_info.max else None
