"""Labelled photos in COCO detection format, as ground truth.

A folder holds ``instances.json``, the pictures that it names, and maybe ``captions.json``; or a file is given, such
as COCO's ``annotations/instances_val2017.json``. Beyond COCO's own fields, images may say ``split``,
``noncommercial_only``, ``source_repo`` and ``labelled`` (which things in this picture have masks), and annotations
may say ``region`` (a connected region of a semantic label, not an object). Pictures and masks are decoded by
``CocoRecord.load``, not before.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.absent_in_captions import ruled_out
from xsam_backend.evaluation.datasets.people_in_captions import speak_of_one_person
from xsam_backend.evaluation.datasets.reading import in_format, picture_folder, read_json, read_rgb
from xsam_backend.evaluation.datasets.records import Dataset, Wanted, categories_of, of_split
from xsam_backend.evaluation.datasets.segmentations import ToMask, segmentation_as_coco, segmentation_to_mask
from xsam_backend.ground_truth import Caption, GroundTruth
from xsam_backend.prompts import Region, Task

STUFF_REGIONS = frozenset(("sky", "building", "road", "pavement", "tree", "fence"))
"""Names whose ``region`` annotations are stuff: merged to one segment per name. Regions of other names stay things,
although touching ones share a mask."""

ANIMALS = frozenset(("turtle", "deer", "tiger", "otter"))

Completeness = Callable[[frozenset[str], Sequence[str]], frozenset[str]]
"""From the names that have a mask in a picture, and its captions, to the names of which every instance has one."""


def _people(present: frozenset[str], captions: Sequence[str]) -> frozenset[str]:
    """One person was picked among all, but where captions know of nobody else, there is hardly anybody else: of 30
    such pictures that we looked at, none had another person. What captions rule out isn't there."""
    return (present if speak_of_one_person(captions) else frozenset()) | ruled_out(captions)


COMPLETE_FOR: Mapping[str, Completeness] = {
    "one person only; other objects unlabelled": _people,
    # An animal without a mask is rare: of 36 pictures that we looked at, none had one.
    "one animal species": lambda present, captions: ANIMALS,
    "balloons": lambda present, captions: frozenset(("balloon",)),
    # Hundreds per picture, tiny ones left out: an unmasked mushroom is likely.
    "mushrooms": lambda present, captions: frozenset(),
    # Things under 150 px have no mask. Of stuff that is there, only crumbs under 600 px are missing.
    "connected regions of 10 semantic classes": lambda present, captions: STUFF_REGIONS & present,
}
"""What is complete in a picture, by its ``labelled`` text. Texts that are not here promise nothing."""


@dataclass(frozen=True)
class CocoRecord:
    """One picture of a folder, not yet decoded.

    Attributes:
        path: the picture's file.
        size_hw: (height, width) in pixels, as ``instances.json`` says.
        split: "train", "val" or whatever the data say; empty if they say nothing.
        noncommercial_only: whether the picture's licence allows no commercial use.
        names: class names of its annotations, crowds included, in the file's order.
        complete_for: see ``GroundTruth``.
        source_repo: the collection that the picture was taken from; empty if the data don't say.
    """

    path: Path
    size_hw: tuple[int, int]
    split: str
    noncommercial_only: bool
    names: tuple[str, ...]
    complete_for: frozenset[str]
    captions: tuple[str, ...] = ()
    source_repo: str = ""
    _annotations: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    _to_mask: ToMask = field(default=segmentation_to_mask, repr=False)

    @property
    def source(self) -> str:
        """The picture's file name."""
        return self.path.name

    def regions(self) -> tuple[Region, ...]:
        """None: COCO gives no prompts."""
        return ()

    def load(self) -> GroundTruth:
        """Reads the picture and fills the masks. Annotations without a single pixel are left out.

        Raises:
            DatasetError: the picture can't be read or has another size than stated, or a mask is damaged.
        """
        image = read_rgb(self.path, self.size_hw)
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
            source=self.source,
        )

    def _mask(self, annotation: Mapping[str, Any]) -> NDArray[np.bool_]:
        try:
            return self._to_mask(annotation["segmentation"], self.size_hw)
        except (KeyError, ValueError) as error:
            raise DatasetError(f"{self.path}: annotation {annotation.get('id')}: {error}") from error


class CocoFolder:
    """A folder's pictures as records, in the order of ``instances.json``.

    Args:
        path: the folder, or a file in COCO detection format.
        images: where the pictures lie; None: in the folder, or where COCO's own layout has them.
        to_mask: how outlines become pixels; COCO's rule for numbers that are compared with published ones.

    Raises:
        DatasetError: no ``instances.json``, not JSON, annotations of unknown pictures or categories, or no pictures.
    """

    def __init__(
        self,
        path: str | Path,
        images: Path | None = None,
        to_mask: ToMask = segmentation_to_mask,
        content: Any = None,
    ) -> None:
        self.path = Path(path)
        is_file = self.path.is_file()
        self.file = self.path if is_file else self.path / "instances.json"
        self._to_mask = to_mask
        content = read_json(self.file) if content is None else content
        with in_format(self.file, "COCO detection format"):
            self.categories: tuple[str, ...] = tuple(category["name"] for category in content["categories"])
            self.stuff = frozenset(self._stuff(content))
            self._images = images or self.path
            if is_file or images:
                names = [image["file_name"] for image in content["images"]]
                self._images = picture_folder(images, usual_folders(self.file), names)
            self._records = self._index(content)

    def records(self, split: str | None = None, commercial_only: bool = False) -> list[CocoRecord]:
        """The pictures of one split (None: all), without those for non-commercial use only if so wished."""
        return [
            record
            for record in self._records
            if split in (None, record.split) and not (commercial_only and record.noncommercial_only)
        ]

    def _stuff(self, content: Mapping[str, Any]) -> set[str]:
        """Names of which some annotation is a region of stuff."""
        name_of = {category["id"]: category["name"] for category in content["categories"]}
        regions = {name_of[a["category_id"]] for a in content["annotations"] if a.get("region")}
        return regions & STUFF_REGIONS

    def _index(self, content: Mapping[str, Any]) -> list[CocoRecord]:
        name_of = {category["id"]: category["name"] for category in content["categories"]}
        annotations: dict[object, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        captions = self._captions()
        split = split_in_name(self.file)
        records = []
        for image in content["images"]:
            own = tuple(annotations[image["id"]])
            names = tuple(name_of[annotation["category_id"]] for annotation in own)
            records.append(
                CocoRecord(
                    path=self._images / image["file_name"],
                    size_hw=(int(image["height"]), int(image["width"])),
                    split=image.get("split", split),
                    noncommercial_only=bool(image.get("noncommercial_only", False)),
                    names=names,
                    complete_for=self._complete_for(
                        image.get("labelled"), frozenset(names), captions.get(image["id"], ())
                    ),
                    captions=tuple(captions.get(image["id"], ())),
                    source_repo=image.get("source_repo", ""),
                    _annotations=own,
                    _to_mask=self._to_mask,
                )
            )
        return records

    def _complete_for(self, labelled: str | None, present: frozenset[str], captions: Sequence[str]) -> frozenset[str]:
        """Without a note, the picture went through COCO's procedure, which looks for each category in each picture.

        Small and distant objects are still missed there now and then. We take that as label noise: COCO's own
        evaluation counts such finds as wrong, too, and without it no photo would teach what is absent.
        """
        if labelled is None:
            return frozenset(self.categories)
        rule = COMPLETE_FOR.get(labelled)
        return rule(present, captions) if rule else frozenset()

    def _captions(self) -> Mapping[object, list[str]]:
        """Captions by picture, from ``captions.json`` beside ``instances.json``, ``captions_x`` beside ``..._x``."""
        path = self.file.with_name(self.file.name.replace("instances", "captions"))
        captions: dict[object, list[str]] = defaultdict(list)
        if path != self.file and path.exists():
            with in_format(path, "COCO captions"):
                for entry in read_json(path)["annotations"]:
                    captions[entry["image_id"]].append(" ".join(entry["caption"].split()))
        return captions


def open_coco(wanted: Wanted) -> Dataset:
    """COCO instances as a data set, with COCO's own outlines.

    ``only`` chooses a part: pictures whose file name begins with it, or whose ``source_repo`` it is. A part's classes
    are those that occur in it.

    Raises:
        DatasetError: as ``CocoFolder``; nothing of that split or part.
    """
    folder = CocoFolder(wanted.path, wanted.images, segmentation_as_coco, wanted.content)
    records = folder.records()
    names = folder.categories
    if wanted.only is not None:
        records = [r for r in records if r.path.name.startswith(wanted.only) or r.source_repo == wanted.only]
        if not records:
            raise DatasetError(
                f"{folder.file}: expected file names that begin with '{wanted.only}', or that source_repo; names "
                f"look like {next((r.path.name for r in folder.records()), 'none')}, collections are "
                f"{', '.join(sorted({r.source_repo for r in folder.records() if r.source_repo})) or 'not given'}"
            )
        present = {name for record in records for name in record.names}
        names = tuple(name for name in names if name in present)
    return Dataset(
        name=" ".join(filter(None, (_title(wanted.path), wanted.only))),
        format="coco",
        split=wanted.split or "",
        categories=categories_of(names, folder.stuff),
        tasks=(class_task(folder.file), Task.VGD, Task.INTERACTIVE),
        labelling="instances",
        records=of_split(records, wanted.split, str(folder.file)),
        notes=("outlines filled as COCO fills them",),
    )


def split_in_name(path: Path) -> str:
    """The split that a file's name tells: "val" for ``instances_val2017.json``; empty if it tells none."""
    match = re.search(r"(?<![a-z])(train|val|test[AB]?)(?![a-z])", path.stem)
    return match[1] if match else ""


def class_task(file: Path) -> Task:
    """How classes are asked for: ADE20K's are an open vocabulary to a model that has learnt from COCO."""
    return Task.OPEN_VOCABULARY if file.name.startswith("ade20k") else Task.GENERIC


def usual_folders(file: Path) -> list[Path]:
    """Where the pictures of a COCO-like file may lie: beside it, or as COCO's and ADE20K's archives unpack."""
    beside, above = file.parent, file.parent.parent
    split = split_in_name(file)
    folders = [beside, beside / "images", above, above / "images"]
    if split:
        for name in (f"{split}2017", f"{split}2014", split):
            folders += [beside / name, above / name, above / "coco2017" / name, above / "images" / name]
        folders.append(beside / "images" / {"val": "validation", "train": "training"}.get(split, split))
    return folders


def _title(path: Path) -> str:
    return path.stem if path.is_file() else path.resolve().name
