"""Small files in the formats of data sets, written as the originals are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

SIZE_HW = (8, 10)
"""Pictures of the tests are 10 x 8 px (width x height)."""

SQUARE = [[2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]]
"""16 px: columns and rows 2 to 5."""

COCO = {"height": 8, "width": 10}


def write_picture(path: Path, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """An RGB picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size_hw[1], size_hw[0]), (10, 20, 30)).save(path)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def block(rows: slice, columns: slice, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    mask = np.zeros(size_hw, np.bool_)
    mask[rows, columns] = True
    return mask


def rle(mask: np.ndarray) -> dict[str, Any]:
    """Compressed COCO RLE with its counts as text, as pycocotools makes it and JSON keeps it."""
    coded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in coded["size"]], "counts": coded["counts"].decode("ascii")}


def instances(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], names: tuple[str, ...] = ("person", "dog")
) -> dict[str, Any]:
    """COCO detection format; categories have ids from 1 on."""
    return {
        "images": [{**COCO, "file_name": f"{image['id']}.jpg", **image} for image in images],
        "annotations": [{"id": 100 + i, "iscrowd": 0, **a} for i, a in enumerate(annotations)],
        "categories": [{"id": 1 + i, "name": name} for i, name in enumerate(names)],
    }
