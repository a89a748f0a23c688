"""What ``predict`` prints: lines for people, COCO, or tasks that Label Studio imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from xsam_backend.geometry.boxes import xyxy_to_xywh
from xsam_backend.geometry.coco_rle import mask_to_coco_rle
from xsam_backend.instances import Answer, Instances
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.results import write_prediction, write_regions

NAMELESS = "object"
"""COCO category of instances without a label."""


def to_lines(answers: Sequence[Answer]) -> list[str]:
    """One line per instance: score, label, box (x0,y0,x1,y1), area in px. Words first, reasons where nothing is."""
    lines = [answer.text for answer in answers if answer.text]
    for answer in answers:
        found = answer.instances
        for index, box in enumerate(found.boxes_xyxy):
            corners = ",".join(str(int(value)) for value in box)
            name = found.labels[index] or NAMELESS
            lines.append(f"{found.scores[index]:.2f}  {name}  box {corners}  {found.cropped[index].area_px} px")
        if not len(found) and not answer.text:
            lines.append(f"nothing found: {answer.reason}" if answer.reason else "nothing found")
    return lines


def to_coco(instances: Instances, file_name: str) -> dict[str, Any]:
    """A COCO file about one picture, masks as compressed COCO RLE; each annotation has a ``score`` besides."""
    height, width = instances.size_hw
    names = list(dict.fromkeys(label or NAMELESS for label in instances.labels))
    return {
        "images": [{"id": 1, "file_name": file_name, "width": width, "height": height}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
        "annotations": [
            {
                "id": index + 1,
                "image_id": 1,
                "category_id": names.index(instances.labels[index] or NAMELESS) + 1,
                "segmentation": mask_to_coco_rle(instances.cropped[index].whole()),
                "bbox": [float(value) for value in xyxy_to_xywh(instances.boxes_xyxy[index])],
                "area": instances.cropped[index].area_px,
                "iscrowd": 0,
                "score": round(float(instances.scores[index]), 6),
            }
            for index in range(len(instances))
        ],
    }


def to_label_studio(
    instances: Instances, file_name: str, model_version: str, config: LabelConfig
) -> list[dict[str, Any]]:
    """One task with one prediction, as Label Studio imports them.

    Raises:
        LabelConfigError: the config has no output for a label.
    """
    regions: list[dict[str, Any]] = []
    for index, label in enumerate(instances.labels):
        control, _ = config.output_for(label)
        regions += write_regions(instances.select([index]), control)
    image = config.image()
    return [
        {
            "data": {image.value.lstrip("$"): file_name},
            "predictions": [write_prediction(regions, model_version)],
        }
    ]


def brush_config(labels: Sequence[str | None]) -> LabelConfig:
    """A label config of one picture and one brush with these labels, for callers who brought none."""
    names = dict.fromkeys(label for label in labels if label) or {NAMELESS: None}
    choices = "".join(f"<Label value={quoteattr(name)}/>" for name in names)
    brush = f'<BrushLabels name="brush" toName="image">{choices}</BrushLabels>'
    return LabelConfig.parse(f'<View><Image name="image" value="$image"/>{brush}</View>')
