"""What is bad about a prediction's ``result``, in words.

Bad is what Label Studio was seen to choke on or to show otherwise than it was meant, and what it only puts up with.

Strict on purpose: what our writers make has none of these marks; of the recorded shapes, those have one that we never
write. Brushes are decoded by Label Studio's own decoder, bitmasks by their alpha, as in the editor.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image

SHAPE_KEYS: Mapping[str, frozenset[str]] = {
    "polygon": frozenset({"points", "closed"}),
    "rectangle": frozenset({"x", "y", "width", "height", "rotation"}),
    "ellipse": frozenset({"x", "y", "radiusX", "radiusY", "rotation"}),
    "keypoint": frozenset({"x", "y", "width"}),
    "brush": frozenset({"format", "rle"}),
    "bitmask": frozenset({"imageDataURL"}),
}
"""Shape -> the keys of its ``value`` besides the labels."""

ALWAYS = frozenset({"id", "type", "from_name", "to_name", "value"})
OF_A_PICTURE = frozenset({"original_width", "original_height", "image_rotation"})
SOMETIMES = frozenset({"score", "item_index", "meta", "parentID"})
PNG = "data:image/png;base64,"


def marks_of(
    result: Any, label_config: str, size_hw: tuple[int, int], item_index: int | None = None
) -> frozenset[str]:
    """The marks of a ``result`` on one picture of (height, width); none: nothing is bad about it.

    Args:
        result: of a prediction, as read from JSON.
        label_config: XML.
        size_hw: of the picture as the browser shows it.
        item_index: of the picture in a list; None outside of lists.
    """
    if not isinstance(result, list):
        return frozenset({"the result is no list"})
    return frozenset(_marks(result, label_config, size_hw, item_index))


def _marks(result: list[Any], label_config: str, size_hw: tuple[int, int], item_index: int | None) -> Iterator[str]:
    tags = list(ElementTree.fromstring(label_config).iter())
    controls = {tag.get("name"): tag for tag in tags if tag.get("toName")}
    drawn: dict[str, frozenset[str]] = {}
    for region in result:
        if not isinstance(region, dict):
            yield "a region is no object"
            continue
        missing = [key for key in sorted(ALWAYS) if key not in region]
        if missing:
            yield from (f"no {key}" for key in missing)
            continue
        control = controls.get(region["from_name"])
        if control is None:
            yield "from_name is not in the config"
            continue
        if region["to_name"] != control.get("toName"):
            yield "to_name is not the control's"
        if region["type"] != control.tag.lower():
            yield "type is not the control's"
            continue
        shape = region["type"].removesuffix("labels")
        is_beside = region["id"] in drawn and shape in ("", "textarea")
        if not isinstance(region["id"], str):
            yield "the id is no text"
            continue
        if region["id"] in drawn and not is_beside:
            yield "an id twice"
        yield from _around(region, size_hw, item_index, drawn, is_picture=shape in SHAPE_KEYS or is_beside)
        if shape in SHAPE_KEYS:
            own = frozenset({region["type"]}) if region["type"].endswith("labels") else frozenset()
            yield from _value(region, SHAPE_KEYS[shape] | own)
            yield from _labels(region, control, needed=bool(own))
            drawn[region["id"]] = SHAPE_KEYS[shape] | own
            if SHAPE_KEYS[shape] <= set(region["value"]):
                yield from _SHAPES[shape](region["value"], size_hw)
        elif shape == "":
            yield from _value(region, drawn.get(region["id"], frozenset()) | {"labels"})
            yield from _labels(region, control, needed=True)
        elif shape == "textarea":
            yield from _value(region, drawn.get(region["id"], frozenset()) | {"text"})
            if not _is_texts(region["value"].get("text")):
                yield "the text is no list of texts"
        else:
            yield "a shape that no writer has"


def _around(
    region: dict[str, Any],
    size_hw: tuple[int, int],
    item_index: int | None,
    drawn: Mapping[str, object],
    *,
    is_picture: bool,
) -> Iterator[str]:
    """What stands beside ``value``."""
    needed = ALWAYS | OF_A_PICTURE if is_picture else ALWAYS
    if not needed <= set(region):
        yield "no size of the picture"
    elif is_picture and (region["original_height"], region["original_width"]) != size_hw:
        yield "another size than the picture's"
    elif is_picture and region["image_rotation"] != 0:
        yield "a turned view"
    if set(region) - needed - SOMETIMES:
        yield "a key that Label Studio has no use for"
    score = region.get("score", 0.5)
    if type(score) is not float or not 0 <= score <= 1:
        yield "the score is no number from 0 to 1"
    if region.get("item_index", item_index) != item_index or (item_index is not None) != ("item_index" in region):
        yield "item_index is not the picture's"
    if "parentID" in region and region["parentID"] not in drawn:
        yield "parentID is no region before it"
    if "meta" in region and not (set(region["meta"]) == {"text"} and _is_texts(region["meta"]["text"])):
        yield "meta holds no list of texts"


def _value(region: dict[str, Any], keys: frozenset[str]) -> Iterator[str]:
    if set(region["value"]) != keys:
        yield "other keys than the shape's"


def _labels(region: dict[str, Any], control: ElementTree.Element, *, needed: bool) -> Iterator[str]:
    if not needed or region["type"] not in region["value"]:
        return
    labels, offered = region["value"][region["type"]], {label.get("value") for label in control}
    if not isinstance(labels, list):
        yield "the labels are no list"
    elif len(labels) > 1:
        yield "several labels"
    elif not set(labels) <= offered:
        yield "a label that the control lacks"


def _polygon(value: dict[str, Any], _size_hw: tuple[int, int]) -> Iterator[str]:
    if value["closed"] is not True:
        yield "the polygon is open"
    points = value["points"]
    if len(points) < 3:
        yield "fewer than three points"
    if not all(len(point) == 2 and _are_numbers(point) for point in points):
        yield "a coordinate is no number"
    elif any(not 0 <= number <= 100 for point in points for number in point):
        yield "beyond the picture"


def _box(value: dict[str, Any], _size_hw: tuple[int, int]) -> Iterator[str]:
    if not _are_numbers(value[key] for key in SHAPE_KEYS["rectangle"]):
        yield "a coordinate is no number"
    elif value["rotation"] == 0 and not (
        0 <= value["x"] <= value["x"] + value["width"] <= 100 + 1e-4
        and 0 <= value["y"] <= value["y"] + value["height"] <= 100 + 1e-4
    ):
        yield "beyond the picture"


def _ellipse(value: dict[str, Any], _size_hw: tuple[int, int]) -> Iterator[str]:
    if not _are_numbers(value[key] for key in SHAPE_KEYS["ellipse"]):
        yield "a coordinate is no number"
    elif not (0 <= value["x"] <= 100 and 0 <= value["y"] <= 100 and min(value["radiusX"], value["radiusY"]) > 0):
        yield "beyond the picture"


def _keypoint(value: dict[str, Any], _size_hw: tuple[int, int]) -> Iterator[str]:
    if not _are_numbers(value[key] for key in SHAPE_KEYS["keypoint"]):
        yield "a coordinate is no number"
    elif not (0 <= value["x"] <= 100 and 0 <= value["y"] <= 100 and value["width"] > 0):
        yield "beyond the picture"


def _brush(value: dict[str, Any], size_hw: tuple[int, int]) -> Iterator[str]:
    if not value["rle"]:
        yield "a brush without bytes"
        return
    values = decode_rle(value["rle"])
    if values.size != 4 * size_hw[0] * size_hw[1]:
        yield "a brush of another size than the picture"
    elif not np.isin(values, (0, 255)).all():
        yield "a brush with values besides 0 and 255"
    elif not (values.reshape(-1, 4) == values[::4, None]).all():
        yield "a brush whose four values differ"
    elif not values.any():
        yield "a mask of nothing"


def _bitmask(value: dict[str, Any], size_hw: tuple[int, int]) -> Iterator[str]:
    if not value["imageDataURL"].startswith(PNG):
        yield "an address that does not say PNG"
        return
    with Image.open(io.BytesIO(base64.b64decode(value["imageDataURL"].removeprefix(PNG)))) as png:
        if png.mode != "RGBA":
            yield "a PNG without alpha"
        elif (png.height, png.width) != size_hw:
            yield "a PNG of another size than the picture"
        elif not np.isin(alpha := np.asarray(png.getchannel("A")), (0, 255)).all():
            yield "alpha besides 0 and 255"
        elif not alpha.any():
            yield "a mask of nothing"


_SHAPES = {
    "polygon": _polygon,
    "rectangle": _box,
    "ellipse": _ellipse,
    "keypoint": _keypoint,
    "brush": _brush,
    "bitmask": _bitmask,
}


def _are_numbers(numbers: Any) -> bool:
    return all(type(number) in (int, float) and math.isfinite(number) for number in numbers)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text for text in value)


def as_sent(prediction: dict[str, Any]) -> dict[str, Any]:
    """A prediction as Label Studio reads it: through JSON that has no NaN."""
    sent: dict[str, Any] = json.loads(json.dumps(prediction, allow_nan=False))
    assert sent == prediction, "JSON-native values only"
    return sent
