"""RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: phrases about objects of COCO pictures, in the forms that go around.

* The authors' own (lichengunc/refer): a folder with ``instances.json`` and ``refs(unc).p``, a pickle that is read as
  plain data; the same list as ``refs(unc).json``, or an object a line as ``.jsonl``. A ref has ``image_id``,
  ``ann_id``, ``split`` and ``sentences`` with ``sent``. gRefCOCO's ``grefs(unc).json`` has lists of ``ann_id``, [-1]
  where a phrase is about nothing in the picture.
* PSALM's ``val_psalm.json``: a list of ``image_info``, ``anns``, ``instruction`` (the sentences).
* MDETR's ``finetune_refcoco_val.json``: COCO format, a picture for each sentence (``caption``). It mostly holds boxes
  without masks; these are then looked up by ``original_id`` in an ``instances.json`` beside it.

One record per picture holds all its phrases. Texts are put in lower case and the same text about the same objects
counts once, as X-SAM counts them. The forms were written down after the code that reads or writes them (refer.py,
PSALM's build_RefCOCO.py, MDETR's refexp_coco_format.py); the files themselves were not at hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.coco_folder import split_in_name
from xsam_backend.evaluation.datasets.plain_pickle import read_plain_pickle
from xsam_backend.evaluation.datasets.reading import in_format, picture_folder, read_json, read_rgb
from xsam_backend.evaluation.datasets.records import Dataset, Wanted, of_split
from xsam_backend.evaluation.datasets.segmentations import segmentation_as_coco
from xsam_backend.ground_truth import Expression, GroundTruth
from xsam_backend.prompts import Region, Task

SPLITTERS = ("umd", "unc", "google", "berkeley")
"""Who split the data; of several files in a folder, the first of these is read."""

NO_TARGET = -1
"""gRefCOCO's ``ann_id`` of phrases about nothing in the picture."""


@dataclass(frozen=True)
class ReferringRecord:
    """One picture with its phrases, not yet decoded. Attributes as ``CocoRecord``."""

    path: Path
    size_hw: tuple[int, int]
    split: str
    _names: tuple[str, ...] = field(repr=False)
    _segmentations: tuple[Any, ...] = field(repr=False)
    _expressions: tuple[Expression, ...] = field(repr=False)

    @property
    def source(self) -> str:
        """The picture's file name."""
        return self.path.name

    def regions(self) -> tuple[Region, ...]:
        """None: phrases are the prompts."""
        return ()

    def load(self) -> GroundTruth:
        """The picture, the objects that phrases are about, and the phrases.

        Raises:
            DatasetError: the picture can't be read or has another size, or a mask is damaged or empty.
        """
        image = read_rgb(self.path, self.size_hw)
        masks = np.zeros((len(self._names), *self.size_hw), np.bool_)
        for index, segmentation in enumerate(self._segmentations):
            try:
                masks[index] = segmentation_as_coco(segmentation, self.size_hw)
            except ValueError as error:
                raise DatasetError(f"{self.path}: a {self._names[index]} that phrases are about: {error}") from error
            if not masks[index].any():
                raise DatasetError(f"{self.path}: a {self._names[index]} that phrases are about covers no pixel")
        return GroundTruth(
            image=image,
            masks=masks,
            names=self._names,
            is_thing=np.ones(len(masks), np.bool_),
            is_crowd=np.zeros(len(masks), np.bool_),
            referring=self._expressions,
            source=self.source,
        )


@dataclass(frozen=True)
class _Reference:
    """Sentences about some annotations (none: about nothing) of one picture."""

    image_id: Any
    split: str
    annotation_ids: tuple[Any, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class _Content:
    """What every form comes down to: pictures and annotations by id, class names, and the references."""

    images: Mapping[Any, Mapping[str, Any]]
    annotations: Mapping[Any, Mapping[str, Any]]
    name_of: Mapping[Any, str]
    references: list[_Reference]


def open_referring(wanted: Wanted) -> Dataset:
    """Any of the forms as a data set; one split must be chosen where there are several.

    Raises:
        DatasetError: none of the forms; references to unknown pictures or annotations; no such split; boxes without
            masks; no pictures in the usual places.
    """
    file = wanted.path if wanted.path.is_file() else refs_file(wanted.path)
    title = file.stem
    with in_format(file, "RefCOCO's refs, PSALM's or MDETR's form of them"):
        if isinstance(wanted.content, Mapping):
            content = _mdetr(wanted.content, file)
        elif isinstance(wanted.content, list) and wanted.content and "anns" in wanted.content[0]:
            content = _psalm(wanted.content, file)
        else:
            title = f"{file.parent.name} ({file.stem.partition('(')[2].rstrip(')') or file.stem})"
            content = _refs(read_refs(file) if wanted.content is None else wanted.content, file, wanted.split)
        records = _records(content, wanted.images, file)
    splits = {record.split for record in records}
    if wanted.split is None and len(splits) > 1:
        raise DatasetError(f"{file}: expected one split to be chosen, there are {', '.join(sorted(splits))}")
    return Dataset(
        name=title,
        format="refcoco",
        split=wanted.split or "".join(splits),
        categories=(),
        tasks=(Task.REFERRING,),
        labelling="phrases",
        records=of_split(records, wanted.split, str(file)),
        notes=("each text in lower case, once per object", "outlines filled as COCO fills them"),
    )


def refs_file(folder: Path) -> Path:
    """The file with the references in a folder, ``refs(unc).p`` and the like.

    Raises:
        DatasetError: there is none.
    """
    found = [path for path in sorted(folder.glob("*refs(*).*")) if path.suffix in (".json", ".jsonl", ".p")]
    if not found:
        raise DatasetError(
            f"{folder}: expected refs(unc).p, refs(umd).p, grefs(unc).json or the like beside instances.json, found "
            "none: point to the folder of one data set, such as refcoco+"
        )

    def rank(path: Path) -> int:
        splitter = path.name.partition("(")[2].partition(")")[0]
        return SPLITTERS.index(splitter) if splitter in SPLITTERS else len(SPLITTERS)

    return min(found, key=rank)


def read_refs(file: Path) -> Any:
    """The list of references in a pickle, a JSON file or JSON lines."""
    if file.suffix == ".p":
        return read_plain_pickle(file)
    if file.suffix != ".jsonl":
        return read_json(file)
    try:
        return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{file}: expected one JSON object a line, got {error}") from error


def _refs(refs: Sequence[Mapping[str, Any]], file: Path, split: str | None) -> _Content:
    if split is not None and split not in (splits := {_text(ref["split"]) for ref in refs}):
        raise DatasetError(f"{file}: expected pictures of split '{split}', there are {', '.join(sorted(splits))}")
    references = [
        _Reference(ref["image_id"], _text(ref["split"]), _ids(ref["ann_id"]), _texts(ref["sentences"]))
        for ref in refs
        if split in (None, ref["split"])
    ]
    pictures = {reference.image_id for reference in references}
    wanted = {number for reference in references for number in reference.annotation_ids}
    instances = file.with_name("instances.json")
    content = read_json(instances)
    with in_format(instances, "COCO detection format"):
        return _Content(
            {image["id"]: image for image in content["images"] if image["id"] in pictures},
            {one["id"]: one for one in content["annotations"] if one["id"] in wanted},
            {category["id"]: category["name"] for category in content["categories"]},
            references,
        )


def _psalm(samples: Sequence[Mapping[str, Any]], file: Path) -> _Content:
    annotations = {one["id"]: one for sample in samples for one in sample["anns"]}
    return _Content(
        {sample["image_info"]["id"]: {**sample["image_info"], "file_name": sample["image"]} for sample in samples},
        annotations,
        {},
        [
            _Reference(
                sample["image_info"]["id"],
                split_in_name(file),
                tuple(one["id"] for one in sample["anns"]),
                _texts(sample["instruction"]),
            )
            for sample in samples
        ],
    )


def _mdetr(content: Mapping[str, Any], file: Path) -> _Content:
    about: dict[Any, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if not annotation.get("empty"):
            about[annotation["image_id"]].append(annotation)
    annotations = {one["original_id"]: one for own in about.values() for one in own}
    if any("segmentation" not in one for one in annotations.values()):
        annotations = _with_masks(annotations, file)
    return _Content(
        # Pictures are there once for each sentence: they are the same by their name.
        {image["file_name"]: image for image in content["images"]},
        annotations,
        {category["id"]: category["name"] for category in content["categories"]},
        [
            _Reference(
                image["file_name"],
                split_in_name(file),
                tuple(one["original_id"] for one in about[image["id"]]),
                (image["caption"].lower(),),
            )
            for image in content["images"]
        ],
    )


def _with_masks(annotations: Mapping[Any, Mapping[str, Any]], file: Path) -> dict[Any, Mapping[str, Any]]:
    """The same annotations as COCO has them, masks included."""
    names = ("instances.json", "instances_train2014.json")
    for instances in (folder / name for folder in (file.parent, file.parent / "annotations") for name in names):
        if instances.exists():
            with in_format(instances, "COCO detection format"):
                found = {one["id"]: one for one in read_json(instances)["annotations"] if one["id"] in annotations}
                return {number: found[number] for number in annotations}
    raise DatasetError(
        f"{file}: it holds boxes and no masks: put COCO's instances_train2014.json beside it, where the masks can be "
        "looked up by original_id"
    )


def _records(content: _Content, images: Path | None, file: Path) -> list[ReferringRecord]:
    grouped: dict[tuple[Any, str], list[_Reference]] = {}
    for reference in content.references:
        grouped.setdefault((reference.image_id, reference.split), []).append(reference)
    pictures = [content.images[image_id] for image_id, _ in grouped]
    folder = picture_folder(images, _picture_folders(file), [picture["file_name"] for picture in pictures])
    records = []
    for ((_, split), references), picture in zip(grouped.items(), pictures, strict=True):
        numbers = list(dict.fromkeys(number for one in references for number in one.annotation_ids))
        annotations = [content.annotations[number] for number in numbers]
        position = {number: index for index, number in enumerate(numbers)}
        expressions = [
            Expression(text, tuple(position[number] for number in one.annotation_ids))
            for one in references
            for text in one.sentences
        ]
        records.append(
            ReferringRecord(
                path=folder / picture["file_name"],
                size_hw=(int(picture["height"]), int(picture["width"])),
                split=split,
                _names=tuple(content.name_of.get(one["category_id"], "object") for one in annotations),
                _segmentations=tuple(one["segmentation"] for one in annotations),
                _expressions=tuple(dict.fromkeys(expressions)),
            )
        )
    return records


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"expected text, got {str(given)[:80]}")
    return given


def _ids(given: Any) -> tuple[Any, ...]:
    numbers = given if isinstance(given, list) else [given]
    return tuple(number for number in numbers if number != NO_TARGET)


def _texts(sentences: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(sentence["sent"].lower() for sentence in sentences)


def _picture_folders(file: Path) -> list[Path]:
    """COCO's ``train2014``, as refer.py, LISA and X-SAM lay it out around the folder of one data set."""
    beside = file.parent
    roots = (beside, beside.parent, beside.parent.parent)
    inner = ("images/train2014", "images/mscoco/images/train2014", "train2014", "images", "coco2014/train2014", "")
    return [root / name for root in roots for name in inner]
