"""Pictures in COCO panoptic format: a JSON of segments and PNGs that say which pixel belongs to which.

    images:      id, file_name, width, height
    annotations: image_id, file_name (the PNG), segments_info: id, category_id, iscrowd, ...
    categories:  id, name, isthing

A PNG's pixel holds a segment's id as R + 256 G + 65536 B; 0 is void. Every pixel belongs to one segment at most, and
stuff is one segment per class. ADE20K's ``ade20k_panoptic_val.json``, as Mask2Former and X-SAM prepare it, is in this
format, with texts as picture ids and categories counted from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.coco_folder import class_task, split_in_name, usual_folders
from xsam_backend.evaluation.datasets.reading import in_format, picture_folder, read_json, read_label_map, read_rgb
from xsam_backend.evaluation.datasets.records import Dataset, Wanted, categories_of, of_split
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.prompts import Region, Task


@dataclass(frozen=True)
class PanopticRecord:
    """One picture and its map of segments, not yet decoded.

    Attributes:
        path: the picture's file.
        png: the map's file.
        size_hw: (height, width) in pixels, as the JSON says.
        split: from the JSON or its name; empty if they say nothing.
        complete_for: all classes: who labels panoptically labels everything.
    """

    path: Path
    png: Path
    size_hw: tuple[int, int]
    split: str
    complete_for: frozenset[str]
    _segments: tuple[tuple[int, str, bool, bool], ...] = field(default=(), repr=False)

    @property
    def source(self) -> str:
        """The picture's file name."""
        return self.path.name

    def regions(self) -> tuple[Region, ...]:
        """None: the format gives no prompts."""
        return ()

    def load(self) -> GroundTruth:
        """Reads both files. Void pixels are ignored ones; listed segments without a pixel are left out.

        (panopticapi counts the latter as missed. Only ADE20K has some: stuff that is wholly covered by things.)

        Raises:
            DatasetError: a file is missing or of another size, or the PNG holds an id that the JSON doesn't list.
        """
        image = read_rgb(self.path, self.size_hw)
        rgb = read_label_map(self.png, "RGB", self.size_hw).astype(np.uint32)
        ids = rgb[..., 0] + (rgb[..., 1] << 8) + (rgb[..., 2] << 16)
        present = set(np.unique(ids).tolist()) - {0}
        unknown = sorted(present - {number for number, *_ in self._segments})
        if unknown:
            raise DatasetError(
                f"{self.png}: expected the ids of segments that the JSON lists for {self.source}, got also "
                f"{unknown[:5]}: the PNG belongs to other labels"
            )
        kept = [segment for segment in self._segments if segment[0] in present]
        return GroundTruth(
            image=image,
            masks=np.stack([ids == number for number, *_ in kept])
            if kept
            else np.zeros((0, *self.size_hw), np.bool_),
            names=tuple(name for _, name, _, _ in kept),
            is_thing=np.array([is_thing for _, _, is_thing, _ in kept], np.bool_),
            is_crowd=np.array([is_crowd for *_, is_crowd in kept], np.bool_),
            complete_for=self.complete_for,
            source=self.source,
            ignored=ids == 0,
        )


def open_panoptic(wanted: Wanted) -> Dataset:
    """A panoptic JSON, or a folder with ``panoptic.json``, as a data set.

    Raises:
        DatasetError: not in the format; unknown categories or pictures; a picture without a map; nothing of that
            split; no pictures or PNGs in the usual places.
    """
    file = wanted.path / "panoptic.json" if wanted.path.is_dir() else wanted.path
    content = read_json(file) if wanted.content is None else wanted.content
    with in_format(file, "COCO panoptic format"):
        names = [category["name"] for category in content["categories"]]
        stuff = frozenset(category["name"] for category in content["categories"] if not category["isthing"])
        records = _records(content, file, wanted.images)
    return Dataset(
        name=wanted.path.resolve().name if wanted.path.is_dir() else wanted.path.stem,
        format="panoptic",
        split=wanted.split or "",
        categories=categories_of(names, stuff),
        tasks=(class_task(file), Task.VGD, Task.INTERACTIVE),
        labelling="panoptic",
        records=of_split(records, wanted.split, str(file)),
        notes=("void pixels count neither way",),
    )


def _records(content: Mapping[str, Any], file: Path, images: Path | None) -> list[PanopticRecord]:
    category_of = {category["id"]: category for category in content["categories"]}
    picture_of = {image["id"]: image for image in content["images"]}
    every = frozenset(category["name"] for category in content["categories"])
    folder = picture_folder(images, usual_folders(file), [image["file_name"] for image in content["images"]])
    maps = [annotation["file_name"] for annotation in content["annotations"]]
    # COCO's archive has the PNGs in a folder that is named as the JSON, beside it or beside the pictures.
    places = [file.parent, file.parent / file.stem, file.parent.parent / file.stem]
    png_folder = picture_folder(None, places, maps)
    map_of = {annotation["image_id"]: annotation for annotation in content["annotations"]}
    records = []
    for number, image in picture_of.items():
        annotation = map_of.pop(number, None)
        if annotation is None:
            raise DatasetError(f"{file}: expected segments of picture {number}, there are none")
        records.append(
            PanopticRecord(
                path=folder / image["file_name"],
                png=png_folder / annotation["file_name"],
                size_hw=(int(image["height"]), int(image["width"])),
                split=image.get("split", split_in_name(file)),
                complete_for=every,
                _segments=tuple(_segment(one, category_of) for one in annotation["segments_info"]),
            )
        )
    if map_of:
        raise DatasetError(f"{file}: segments of pictures that it doesn't list: {sorted(map(str, map_of))[:5]}")
    return records


def _segment(info: Mapping[str, Any], category_of: Mapping[Any, Mapping[str, Any]]) -> tuple[int, str, bool, bool]:
    """Id, class name, whether it is a thing, whether it is a crowd."""
    category = category_of[info["category_id"]]
    return int(info["id"]), category["name"], bool(category["isthing"]), bool(info.get("iscrowd", 0))
