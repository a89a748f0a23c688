"""Instances -> regions as Label Studio shows and keeps them, and the prediction around them.

One writer for each shape, in one table. Every region has a new id (an id seen before would replace the region that
was accepted under it), the picture's size, a score in 0..1, and only JSON-native values.

What is lost: brush, bitmask and exact polygons (``model_polygon_iou="1"``) keep every pixel. Polygons keep the stated
IoU, holes as keyholes, parts as regions of their own below the largest. Rectangles, ellipses and keypoints keep only
their shape. ``docs/label-studio-cases.md`` has the bound for each tag.
"""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from xsam_backend.errors import LabelConfigError
from xsam_backend.geometry.boxes import mask_to_rotated_rectangle, px_to_pct
from xsam_backend.geometry.brush_rle import mask_to_brush_rle
from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.geometry.masks import interior_point
from xsam_backend.geometry.polygons import mask_to_polygons
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.tags import ControlOptions, ControlTag

RegionDict = dict[str, Any]

MAX_PARTS = 100
"""Polygons written for one instance at most, the largest; more would freeze the editor, and are specks."""

KEYPOINT_WIDTH_PCT = 0.5
"""How large a keypoint is drawn; Label Studio shows none without a width."""

_MOST_PCT = 100.0
"""Numbers of a rectangle, and diameters, beyond this are refused by the check of predictions against the label config
that an organization may have switched on; and a prediction that is refused costs its whole batch."""

_DIGITS = 5
"""Per cent are rounded so: 0.0005 pixels in a picture of 10,000."""


def write_regions(
    instances: Instances,
    control: ControlTag,
    item_index: int | None = None,
    *,
    phrases: Sequence[str] = (),
    phrase_area: ControlTag | None = None,
) -> list[RegionDict]:
    """The regions of ``instances`` for one output control, in order. Empty masks make no region.

    A label that the control does not have (the phrase of a text prompt) is not put on the region as its label: it is
    said beside the region, in the text area for phrases where there is one, else in ``meta.text``, which annotators
    see.

    Args:
        instances: in the displayed picture's own size.
        control: an output of the label config.
        item_index: of the picture in a list of pictures; None outside of lists.
        phrases: what a caption calls each instance, said beside its region whatever its label is; or empty.
        phrase_area: a TextArea with ``perRegion="true"``.

    Raises:
        LabelConfigError: the control cannot hold regions.
    """
    if control.geometry not in WRITERS:
        raise LabelConfigError(
            f"{control.tag} '{control.name}' cannot hold masks: expected one of {', '.join(WRITERS)} as output"
        )
    regions: list[RegionDict] = []
    for number, (mask, label) in enumerate(zip(instances.cropped, instances.labels, strict=True)):
        if not mask.is_empty:
            values = WRITERS[control.geometry](mask, control.options)
            known = control.label_within(label) if label and phrases else control.find_label(label) if label else None
            said = phrases[number] if phrases else label if label and not known else None
            score = float(instances.scores[number])
            regions += _instance_regions(values, mask.size_hw, score, known, control, item_index, said, phrase_area)
    return regions


def write_text(text: str, control: ControlTag, item_index: int | None = None) -> RegionDict:
    """A TextArea region: a caption or an answer in words.

    Raises:
        LabelConfigError: the control is no TextArea.
    """
    if control.geometry != "text":
        raise LabelConfigError(f"{control.tag} '{control.name}' cannot hold text: expected a TextArea")
    region: RegionDict = {
        "id": new_region_id(),
        "type": control.region_type,
        "from_name": control.name,
        "to_name": control.to_name,
        "value": {"text": [text]},
    }
    return region if item_index is None else {**region, "item_index": item_index}


def write_prediction(regions: Sequence[RegionDict], model_version: str) -> dict[str, Any]:
    """One entry of a reply's ``results``. Parts of one instance count once in its score."""
    scores = [region["score"] for region in regions if "score" in region and "parentID" not in region]
    return {"result": list(regions), "score": prediction_score(scores), "model_version": model_version}


def prediction_score(scores: Sequence[float]) -> float:
    """The score of a whole prediction, 0..1, from those of its regions: Data Manager sorts the least certain first.

    It is their mean: where they are calibrated, the share of regions that should be right. The least one would mostly
    tell how many regions there are, since the least of many lies near the threshold. Without a region it is 0: where
    nothing was found somebody should look first.
    """
    return round(sum(scores) / len(scores), 6) if scores else 0.0


def new_region_id() -> str:
    """20 hexadecimal digits that no other region has."""
    return secrets.token_hex(10)


def _instance_regions(
    values: Sequence[dict[str, Any]],
    size_hw: tuple[int, int],
    score: float,
    label: str | None,
    control: ControlTag,
    item_index: int | None,
    said: str | None,
    phrase_area: ControlTag | None,
) -> list[RegionDict]:
    """Regions of one instance: one for each value, the later ones below the first in the region tree.

    Args:
        label: one of the control's, or None.
        said: words beside it, or None.
        phrase_area: where those go; None: into ``meta``.
    """
    regions: list[RegionDict] = []
    for value in values:
        region: RegionDict = {
            "id": new_region_id(),
            "type": control.region_type,
            "from_name": control.name,
            "to_name": control.to_name,
            "original_width": int(size_hw[1]),
            "original_height": int(size_hw[0]),
            "image_rotation": 0,
            "value": value,
            "score": round(min(max(score, 0.0), 1.0), 6),
        }
        if control.label_key:
            value[control.label_key] = [label] if label else []
        if item_index is not None:
            region["item_index"] = item_index
        if said and phrase_area is None:
            region["meta"] = {"text": [said]}
        if regions:
            region["parentID"] = regions[0]["id"]
        regions.append(region)
    beside: list[RegionDict] = []
    labels_name = control.labels_name_of(label) if label else None
    if labels_name:  # a plain tag with <Labels> beside it
        beside += [_beside(region, "labels", labels_name, {"labels": [label]}) for region in regions]
    if said and phrase_area is not None:  # of an instance in several parts, the first one says it
        beside.append(_beside(regions[0], phrase_area.region_type, phrase_area.name, {"text": [said]}))
    return [*regions, *beside]


def _beside(region: RegionDict, kind: str, from_name: str, more: Mapping[str, Any]) -> RegionDict:
    """A second result under a region's id: it brings what another tag says of the region."""
    without_score = {key: value for key, value in region.items() if key != "score"}
    return {**without_score, "type": kind, "from_name": from_name, "value": {**region["value"], **more}}


def _write_polygon(mask: CroppedMask, options: ControlOptions) -> list[dict[str, Any]]:
    polygons = mask_to_polygons(mask, options.polygon_iou, most_parts=MAX_PARTS)
    return [{"points": _pct(polygon, mask), "closed": True} for polygon in polygons]


def _write_brush(mask: CroppedMask, options: ControlOptions) -> list[dict[str, Any]]:
    return [{"format": "rle", "rle": mask_to_brush_rle(mask.whole())}]


def _write_bitmask(mask: CroppedMask, options: ControlOptions) -> list[dict[str, Any]]:
    """A PNG whose alpha is the mask; the editor heeds no other channel."""
    rgba = np.zeros((*mask.size_hw, 4), np.uint8)
    rgba[mask.window][mask.crop] = 255
    png = io.BytesIO()
    Image.fromarray(rgba).save(png, "PNG")
    return [{"imageDataURL": "data:image/png;base64," + base64.b64encode(png.getvalue()).decode("ascii")}]


def _write_rectangle(mask: CroppedMask, options: ControlOptions) -> list[dict[str, Any]]:
    """Around all of the mask; straight also where a turned one is wished but were larger than the picture."""
    left, top = mask.corner_xy
    pct = _pct([left, top, mask.crop.shape[1], mask.crop.shape[0]], mask)
    rotation = 0.0
    if options.rotated:
        x, y, width, height, turned = mask_to_rotated_rectangle(mask.crop)
        turned_pct = _pct([left + x, top + y, width, height], mask)
        if max(turned_pct) <= _MOST_PCT:
            pct, rotation = turned_pct, turned
    return [dict(zip(("x", "y", "width", "height"), pct, strict=True), rotation=round(rotation % 360, _DIGITS))]


def _write_ellipse(mask: CroppedMask, options: ControlOptions) -> list[dict[str, Any]]:
    """The ellipse with the mask's centre and second moments; it is the mask itself if that is an ellipse.

    A radius of more than half the picture, as a rectangle that fills it would have, is cut down to that.
    """
    left, top = mask.corner_xy
    moments = cv2.moments(mask.crop.astype(np.uint8), binaryImage=True)
    area = moments["m00"]
    covariance = np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]]) / area
    # A pixel is a unit square around its centre, with a variance of 1/12 each way.
    variances, axes = np.linalg.eigh(covariance + np.eye(2) / 12)
    # X is the axis that lies flatter. Radii are per cent of width and height: an upright X could pass 100.
    flat = int(np.abs(axes[0]).argmax())
    rotation = float(np.rad2deg(np.arctan(axes[1, flat] / axes[0, flat])))
    x, y = _pct([left + moments["m10"] / area + 0.5, top + moments["m01"] / area + 0.5], mask)
    radii_pct = _pct(2 * np.sqrt([variances[flat], variances[1 - flat]]), mask)
    radius_x, radius_y = (min(radius, _MOST_PCT / 2) for radius in radii_pct)
    return [{"x": x, "y": y, "radiusX": radius_x, "radiusY": radius_y, "rotation": round(rotation % 360, _DIGITS)}]


def _write_keypoint(mask: CroppedMask, options: ControlOptions) -> list[dict[str, Any]]:
    x, y = interior_point(mask.crop)
    x_pct, y_pct = _pct([mask.corner_xy[0] + x, mask.corner_xy[1] + y], mask)
    return [{"x": x_pct, "y": y_pct, "width": KEYPOINT_WIDTH_PCT}]


def _pct(points_px: ArrayLike, mask: CroppedMask) -> Any:
    """Pixels -> rounded per cent as plain lists of floats."""
    return np.round(px_to_pct(points_px, mask.size_hw), _DIGITS).tolist()


WRITERS: Mapping[str, Callable[[CroppedMask, ControlOptions], list[dict[str, Any]]]] = {
    "polygon": _write_polygon,
    "brush": _write_brush,
    "bitmask": _write_bitmask,
    "rectangle": _write_rectangle,
    "ellipse": _write_ellipse,
    "keypoint": _write_keypoint,
}
"""Geometry of a control -> the ``value`` dicts of one mask's regions, without labels; the mask isn't empty."""
