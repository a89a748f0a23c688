"""Regions as sent, and reasons -> rows of the prediction log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from xsam_backend.geometry.coco_rle import mask_to_coco_rle
from xsam_backend.labelstudio.images import FetchedImage
from xsam_backend.prompts import Form, MaskRegion, Point, Prompt, Region
from xsam_backend.store.predictions import Logged, LoggedReason, LoggedRegion


def records_of(
    regions: Sequence[dict[str, Any]],
    prompt: Prompt,
    image: FetchedImage,
    *,
    project_key: str | None,
    task_id: int | None,
    model_version: str,
    interactive: bool,
    created_at: datetime,
    from_name: str,
    reason: str = "",
) -> list[Logged]:
    """One record per region id, and one for the reason, if any. A plain tag's label is a second result under the same
    id; it joins the first.

    Args:
        from_name: where the prompt's regions are written.
        reason: why there are none, or not all that were asked for.
    """
    summary = prompt_summary(prompt)
    records: dict[str, LoggedRegion] = {}
    labels = {region["id"]: label for region in regions if (label := _label(region)) is not None}
    for region in regions:
        if region["id"] in records:
            continue
        records[region["id"]] = LoggedRegion(
            region_id=region["id"],
            project_key=project_key,
            task_id=None if task_id is None else str(task_id),
            model_version=model_version,
            from_name=region["from_name"],
            region_type=region["type"],
            label=labels.get(region["id"]),
            score=region.get("score"),
            interactive=interactive,
            prompt=summary,
            value=region["value"],
            image_sha256=image.sha256,
            image_size_hw=image.size_hw,
            created_at=created_at,
        )
    if not reason:
        return list(records.values())
    why = LoggedReason(
        project_key=project_key,
        task_id=None if task_id is None else str(task_id),
        model_version=model_version,
        from_name=from_name,
        prompt=summary,
        reason=reason,
        image_sha256=image.sha256,
        image_size_hw=image.size_hw,
        created_at=created_at,
    )
    return [*records.values(), why]


def _label(region: dict[str, Any]) -> str | None:
    """``value[type]`` holds the labels ("polygonlabels": ["cat"]; "labels" for the second result of a plain tag)."""
    labels = region["value"].get(region["type"])
    return str(labels[0]) if isinstance(labels, list) and labels else None


def prompt_summary(prompt: Prompt) -> dict[str, Any]:
    """A prompt as a small JSON object, in pixels; whatever is empty is left out.

    >>> prompt_summary(Prompt(Task.INTERACTIVE, (Point(3, 4),), label="cat"))
    {'task': 'intseg', 'regions': [{'point': [3.0, 4.0], 'positive': True}], 'label': 'cat'}
    """
    summary = {
        "task": prompt.task.value,
        "regions": [_region_summary(region) for region in prompt.regions],
        "phrases": [category.phrase for category in prompt.categories],
        "exemplars": len(prompt.exemplars) or None,
        "phrase": prompt.phrase,
        "label": prompt.label,
        "score_threshold": prompt.score_threshold,
        "own_score_thresholds": {
            one.label: one.score_threshold for one in prompt.categories if one.score_threshold is not None
        },
        "form": prompt.form.value if prompt.form is not Form.OBJECTS else None,
    }
    return {name: value for name, value in summary.items() if value not in (None, "", [], {})}


def _region_summary(region: Region) -> dict[str, Any]:
    if isinstance(region, Point):
        return {"point": [round(float(region.x_px), 2), round(float(region.y_px), 2)], "positive": region.positive}
    if isinstance(region, MaskRegion):
        return {"mask": mask_to_coco_rle(region.mask)}
    sides = (region.x_px, region.y_px, region.width_px, region.height_px)
    return {
        "box_xywh": [round(float(side), 2) for side in sides],
        "rotation_deg": round(float(region.rotation_deg), 2),
    }
