"""Folders of labelled photos in COCO detection format, as ground truth.

A folder holds ``instances.json``, the pictures that it names, and maybe ``captions.json``. Beyond COCO's own fields,
images may say ``split``, ``noncommercial_only`` and ``labelled`` (which things in this picture have masks), and
annotations may say ``region`` (a connected region of a semantic label, not an object). Pictures and masks are decoded
by ``CocoRecord.load``, not before.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from xsam_backend.errors import DatasetError
from xsam_backend.geometry.raster import polygon_to_mask
from xsam_backend.geometry.rle import coco_rle_to_mask
from xsam_backend.ground_truth import Caption, GroundTruth

STUFF_REGIONS = frozenset(("sky", "building", "road", "pavement", "tree", "fence"))
"""Names whose ``region`` annotations are stuff: merged to one segment per name. Regions of other names stay things,
although touching ones share a mask."""

ANIMALS = frozenset(("turtle", "deer", "tiger", "otter"))

Completeness = Callable[[frozenset[str]], frozenset[str]]
"""From the names that have a mask in a picture to those of which every instance has one."""

COMPLETE_FOR: Mapping[str, Completeness] = {
    # One person was picked among all; even other persons may be unlabelled.
    "one person only; other objects unlabelled": lambda present: frozenset(),
    # Not every animal of the labelled species has a mask, but the set's other species aren't in the picture.
    "one animal species": lambda present: ANIMALS - present,
    "balloons": lambda present: frozenset(("balloon",)),
    # Hundreds per picture, tiny ones left out: an unmasked mushroom is likely.
    "mushrooms": lambda present: frozenset(),
    # Things under 150 px have no mask. Of stuff that is there, only crumbs under 600 px are missing.
    "connected regions of 10 semantic classes": lambda present: STUFF_REGIONS & present,
}
"""What is complete in a picture, by its ``labelled`` text. Texts that are not here promise nothing."""


@dataclass(frozen=True)
class CocoRecord:
    """One picture of a folder, not yet decoded.

    Attributes:
        path: the picture's file.
        size_hw: (height, width) in pixels, as ``instances.json`` says.
        split: "train", "val" or whatever the folder says; empty if it says nothing.
        noncommercial_only: whether the picture's licence allows no commercial use.
        names: class names of its annotations, crowds included, in the file's order.
        complete_for: see ``GroundTruth``.
    """

    path: Path
    size_hw: tuple[int, int]
    split: str
    noncommercial_only: bool
    names: tuple[str, ...]
    complete_for: frozenset[str]
    captions: tuple[str, ...] = ()
    _annotations: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def load(self) -> GroundTruth:
        """Reads the picture and fills the masks. Annotations without a single pixel are left out.

        Raises:
            DatasetError: the picture can't be read or has another size than stated, or a mask is damaged.
        """
        image = _read_rgb(self.path)
        if image.shape[:2] != self.size_hw:
            raise DatasetError(
                f"{self.path}: expected (height, width) {self.size_hw} as in instances.json, got {image.shape[:2]} "
                "after turning it upright: the file is not the one that was labelled"
            )
        masks: list[NDArray[np.bool_]] = []
        names: list[str] = []
        crowd: list[bool] = []
        stuff: dict[str, int] = {}
        for name, annotation in zip(self.names, self._annotations, strict=True):
            mask = self._mask(annotation)
            if not mask.any():
                continue
            if annotation.get("region") and name in STUFF_REGIONS:
                if name in stuff:
                    masks[stuff[name]] |= mask
                    continue
                stuff[name] = len(masks)
            masks.append(mask)
            names.append(name)
            crowd.append(bool(annotation.get("iscrowd")))
        return GroundTruth(
            image=image,
            masks=np.stack(masks) if masks else np.zeros((0, *self.size_hw), np.bool_),
            names=tuple(names),
            is_thing=~np.isin(np.arange(len(names)), list(stuff.values())),
            is_crowd=np.array(crowd, np.bool_),
            complete_for=self.complete_for,
            captions=tuple(Caption(text) for text in self.captions),
            source=self.path.name,
        )

    def _mask(self, annotation: Mapping[str, Any]) -> NDArray[np.bool_]:
        try:
            return segmentation_to_mask(annotation["segmentation"], self.size_hw)
        except (KeyError, ValueError) as error:
            raise DatasetError(f"{self.path}: annotation {annotation.get('id')}: {error}") from error


class CocoFolder:
    """A folder's pictures as records, in the order of ``instances.json``.

    Raises:
        DatasetError: no ``instances.json``, not JSON, or annotations of unknown pictures or categories.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        content = _read_json(self.path / "instances.json")
        try:
            self.categories: tuple[str, ...] = tuple(category["name"] for category in content["categories"])
            self._records = self._index(content)
        except KeyError as error:
            raise DatasetError(
                f"{self.path / 'instances.json'}: {error} is missing or unknown: expected COCO detection format"
            ) from error

    def records(self, split: str | None = None, commercial_only: bool = False) -> list[CocoRecord]:
        """The pictures of one split (None: all), without those for non-commercial use only if so wished."""
        return [
            record
            for record in self._records
            if split in (None, record.split) and not (commercial_only and record.noncommercial_only)
        ]

    def _index(self, content: Mapping[str, Any]) -> list[CocoRecord]:
        name_of = {category["id"]: category["name"] for category in content["categories"]}
        annotations: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        captions = self._captions()
        records = []
        for image in content["images"]:
            own = tuple(annotations[image["id"]])
            names = tuple(name_of[annotation["category_id"]] for annotation in own)
            records.append(
                CocoRecord(
                    path=self.path / image["file_name"],
                    size_hw=(image["height"], image["width"]),
                    split=image.get("split", ""),
                    noncommercial_only=bool(image.get("noncommercial_only", False)),
                    names=names,
                    complete_for=self._complete_for(image.get("labelled"), frozenset(names)),
                    captions=tuple(captions.get(image["id"], ())),
                    _annotations=own,
                )
            )
        return records

    def _complete_for(self, labelled: str | None, present: frozenset[str]) -> frozenset[str]:
        """Without a note, the picture went through COCO's procedure, which looks for each category in each picture.

        Small and distant objects are still missed there now and then. We take that as label noise: COCO's own
        evaluation counts such finds as wrong, too, and without it no photo would teach what is absent.
        """
        if labelled is None:
            return frozenset(self.categories)
        rule = COMPLETE_FOR.get(labelled)
        return rule(present) if rule else frozenset()

    def _captions(self) -> Mapping[int, list[str]]:
        path = self.path / "captions.json"
        captions: dict[int, list[str]] = defaultdict(list)
        if path.exists():
            for entry in _read_json(path)["annotations"]:
                captions[entry["image_id"]].append(" ".join(entry["caption"].split()))
        return captions


def segmentation_to_mask(segmentation: object, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """bool (H, W) of a COCO ``segmentation``: a list of flat polygons [x0, y0, x1, y1, ...] (united), or an RLE.

    Polygons cover the pixels whose centres they hold, which is within a pixel's width of pycocotools' outline.

    Raises:
        ValueError: neither of these, a polygon of fewer than three points, or an RLE of another size.
    """
    if isinstance(segmentation, Mapping):
        mask = coco_rle_to_mask(segmentation)
        if mask.shape != size_hw:
            raise ValueError(f"RLE: expected size {size_hw}, got {mask.shape}")
        return mask
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation: expected polygons or an RLE, got {type(segmentation).__name__}")
    union = np.zeros(size_hw, np.bool_)
    for flat in segmentation:
        if len(flat) < 6 or len(flat) % 2:
            raise ValueError(f"polygon: expected an even number of at least 6 values, got {len(flat)}")
        union |= polygon_to_mask(np.asarray(flat, np.float64).reshape(-1, 2), size_hw)
    return union


def _read_rgb(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return np.asarray(upright.convert("RGB"))
    except OSError as error:
        raise DatasetError(f"{path}: expected a picture, got {error}: fetch the folder again") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(f"expected {path}: point to a folder with COCO's instances.json and its images") from error
    except ValueError as error:
        raise DatasetError(f"{path}: expected JSON, got {error}") from error
