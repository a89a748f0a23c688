"""COCO-VGD and COCO-Interactive, the paper's visual benchmarks, which bring their own prompts.

For each object of COCO val2017 a point, a scribble, a box and a mask were drawn by chance, as areas of pixels:

* COCO-VGD, ``coco_vgdseg_val.json`` of X-SAM: a list of ``image_file``, ``image_size`` [h, w] and ``annotations``,
  COCO's with ``visual_prompts``: ``point_visual_prompt`` and so on, each an RLE. The question is for all objects of
  the class that an exemplar shows.
* COCO-Interactive, ``coco_interactive_val_psalm.json`` of PSALM: a list of ``image``, ``image_info`` and ``anns``,
  COCO's with ``point_visual_prompt_mask`` and so on; a point is a single pixel there, a scribble a line one pixel
  wide. X-SAM turns each of their pixels into a disc (radius 10 and 5 px) before it asks; so do we. The question is
  for that one object. X-SAM's ``intseg_val.json``, where this is done already, is in the form of COCO-VGD.

Each kind of prompt is a data set of its own: objects whose prompt of that kind has no pixel aren't in it, as X-SAM
has it. (Of objects in several parts, each part has its point; parts of five pixels or less have none.)

Written down after the code that writes these files (X-SAM's ``vgdseg_dataset.py`` and ``intseg_dataset.py``, PSALM's
``bulid_COCO_Interactivate.py``); the files themselves were not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.coco_folder import split_in_name, usual_folders
from xsam_backend.evaluation.datasets.coco_names import COCO_NAMES
from xsam_backend.evaluation.datasets.reading import in_format, picture_folder, read_json, read_rgb
from xsam_backend.evaluation.datasets.records import (
    PROMPT_KINDS,
    Dataset,
    PromptKind,
    Wanted,
    categories_of,
    of_split,
)
from xsam_backend.evaluation.datasets.segmentations import rle_to_mask, segmentation_as_coco
from xsam_backend.geometry.coco_rle import coco_rle_area
from xsam_backend.geometry.masks import Mask
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.prompts import MaskRegion, Region, Task

DISC_RADIUS_PX: Mapping[PromptKind, int] = {"point": 10, "scribble": 5}
"""What X-SAM makes of each pixel of PSALM's points and scribbles."""


@dataclass(frozen=True)
class _Object:
    """One annotation with its prompt of the chosen kind; ``grow_px`` is the disc to make of each of its pixels."""

    name: str
    is_crowd: bool
    segmentation: Any
    prompt: Mapping[str, Any]
    grow_px: int


@dataclass(frozen=True)
class PromptedRecord:
    """One picture, its objects and a region for each of them, not yet decoded. Attributes as ``CocoRecord``.

    Attributes:
        prompts: the kind of the regions.
    """

    path: Path
    size_hw: tuple[int, int]
    split: str
    prompts: PromptKind
    complete_for: frozenset[str]
    _objects: tuple[_Object, ...] = field(repr=False)

    @property
    def source(self) -> str:
        """The picture's file name."""
        return self.path.name

    def load(self) -> GroundTruth:
        """The picture and its objects, those without a single pixel left out.

        Raises:
            DatasetError: the picture can't be read or has another size, or a mask is damaged.
        """
        image = read_rgb(self.path, self.size_hw)
        kept = self._with_masks()
        return GroundTruth(
            image=image,
            masks=np.stack([mask for _, mask in kept]) if kept else np.zeros((0, *self.size_hw), np.bool_),
            names=tuple(one.name for one, _ in kept),
            is_thing=np.ones(len(kept), np.bool_),
            is_crowd=np.array([one.is_crowd for one, _ in kept], np.bool_),
            complete_for=self.complete_for,
            source=self.source,
        )

    def regions(self) -> tuple[Region, ...]:
        """The benchmark's prompts, one for each segment of ``load()``. Boxes are areas of pixels, too.

        Raises:
            DatasetError: a prompt or a mask is damaged.
        """
        return tuple(
            MaskRegion(self._prompt(one), is_outline=self.prompts in ("box", "mask")) for one, _ in self._with_masks()
        )

    def _with_masks(self) -> list[tuple[_Object, Mask]]:
        masks = []
        for one in self._objects:
            try:
                masks.append((one, segmentation_as_coco(one.segmentation, self.size_hw)))
            except ValueError as error:
                raise DatasetError(f"{self.path}: the mask of a {one.name}: {error}") from error
        return [(one, mask) for one, mask in masks if mask.any()]

    def _prompt(self, one: _Object) -> Mask:
        try:
            mask = rle_to_mask(one.prompt, self.size_hw)
        except ValueError as error:
            raise DatasetError(f"{self.path}: the {self.prompts} of a {one.name}: {error}") from error
        return _grown(mask, one.grow_px) if one.grow_px else mask


def open_vgd(wanted: Wanted) -> Dataset:
    """COCO-VGD with prompts of one kind. Crowds are no objects of it.

    Raises:
        DatasetError: no kind chosen; not in the format; unknown categories; no object has such a prompt.
    """
    return _open(wanted, "coco-vgd", "COCO-VGD", Task.VGD)


def open_interactive(wanted: Wanted) -> Dataset:
    """COCO-Interactive with prompts of one kind.

    Crowd regions are asked for like every other object, so none is marked as a crowd; what else is in the picture is
    not said.

    Raises:
        DatasetError: as ``open_vgd``.
    """
    return _open(wanted, "coco-interactive", "COCO-Interactive", Task.INTERACTIVE)


def _open(wanted: Wanted, format: str, title: str, task: Task) -> Dataset:
    if wanted.prompts is None:
        raise DatasetError(f"{title} has four kinds of prompts: choose one of {', '.join(PROMPT_KINDS)} (prompts)")
    content = read_json(wanted.path) if wanted.content is None else wanted.content
    with in_format(wanted.path, f"{title} as X-SAM or PSALM write it"):
        rows = [_row(entry, wanted.prompts, task) for entry in content]
        names = [file_name for file_name, *_ in rows]
        folder = picture_folder(wanted.images, usual_folders(wanted.path), names)
    every = frozenset(COCO_NAMES.values())
    records = [
        PromptedRecord(
            path=folder / file_name,
            size_hw=size_hw,
            split=split_in_name(wanted.path),
            prompts=wanted.prompts,
            complete_for=every if task is Task.VGD else frozenset(),
            _objects=objects,
        )
        for file_name, size_hw, objects, _ in rows
        if objects
    ]
    if not records:
        raise DatasetError(f"{wanted.path}: none of its {len(rows)} pictures has an object with a {wanted.prompts}")
    without = sum(count for *_, count in rows)
    return Dataset(
        name=f"{title}, {wanted.prompts}s" if wanted.prompts != "box" else f"{title}, boxes",
        format=format,
        split=wanted.split or split_in_name(wanted.path),
        categories=categories_of(tuple(COCO_NAMES.values())),
        tasks=(task,),
        labelling="instances",
        records=of_split(records, wanted.split, str(wanted.path)),
        notes=(f"prompts of the benchmark; {without} objects without a {wanted.prompts} left out",),
    )


Row = tuple[str, tuple[int, int], tuple[_Object, ...], int]


def _row(entry: Mapping[str, Any], kind: PromptKind, task: Task) -> Row:
    """File name, (height, width), the objects that have a prompt of the kind, and how many have none."""
    if "anns" in entry:  # PSALM's form
        info, annotations = entry["image_info"], entry["anns"]
        file_name, size_hw = entry["image"], (int(info["height"]), int(info["width"]))
        prompts = [annotation.get(f"{kind}_visual_prompt_mask") for annotation in annotations]
        grow_px = DISC_RADIUS_PX.get(kind, 0)
    else:
        annotations = entry["annotations"]
        height, width = entry["image_size"]
        file_name, size_hw = entry["image_file"], (int(height), int(width))
        prompts = [annotation["visual_prompts"].get(f"{kind}_visual_prompt") for annotation in annotations]
        grow_px = 0
    objects = tuple(
        _Object(
            name=COCO_NAMES[annotation["category_id"]],
            is_crowd=task is Task.VGD and bool(annotation.get("iscrowd", 0)),
            segmentation=annotation["segmentation"],
            prompt=prompt,
            grow_px=grow_px,
        )
        for annotation, prompt in zip(annotations, prompts, strict=True)
        if prompt is not None and coco_rle_area(prompt)
    )
    return file_name, size_hw, objects, len(annotations) - len(objects)


def _grown(mask: Mask, radius_px: int) -> Mask:
    """bool (H, W): a disc around each pixel, of all pixels whose centres are at most ``radius_px`` away."""
    offsets = np.arange(-radius_px, radius_px + 1)
    disc = (offsets[:, None] ** 2 + offsets**2 <= radius_px**2).astype(np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc), np.bool_)
