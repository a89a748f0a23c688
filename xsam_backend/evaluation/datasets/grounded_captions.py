"""GranD-f's grounded captions (GLaMM): a sentence about the picture, phrases of it, and a mask for each.

* ``GranDf_HA_GCG_train.json``, ``OpenPsgGCG_val.json``: a list of ``file_name``, ``caption`` and ``groundings``:
  phrase -> ``token_positives`` [start, end] in the caption, ``rle_masks`` (united).
* ``RefCOCOg_GCG_val.json``: a list of objects with one entry each: ``img_file_name``, ``caption``, ``refs`` with
  ``sentence`` (to be found in the caption) and ``segmentation`` (polygons).
* ``flickr_mergedGT_GCG_val.json``: COCO format, ``caption`` on each picture, ``tokens_positive`` (the first of them
  counts) and ``sam_mask`` on each annotation.
* ``val_gcg_coco_mask_gt.json`` with ``val_gcg_coco_caption_gt.json`` beside it (test likewise), what published
  numbers are counted on: COCO formats, joined by picture; the i-th mask belongs to the i-th of the caption's
  ``labels``. Masks beyond the labels stay, as "object". Pictures are ``<id>.jpg``.

Written down after the code that reads them (GLaMM's ``GranDf_gcg_ds.py`` and ``eval/gcg/evaluate.py``, X-SAM's
``gcgseg_dataset.py``); the files themselves were not at hand. Captions are kept as written, but for quotes and spaces
around them; X-SAM puts them in lower case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.coco_folder import split_in_name
from xsam_backend.evaluation.datasets.reading import in_format, picture_folder, read_json, read_rgb
from xsam_backend.evaluation.datasets.records import Dataset, Wanted, of_split
from xsam_backend.evaluation.datasets.segmentations import segmentation_as_coco
from xsam_backend.geometry.masks import Mask
from xsam_backend.ground_truth import Caption, GroundTruth
from xsam_backend.prompts import Region, Task

MASKS, CAPTIONS = "_coco_mask_gt", "_coco_caption_gt"

Span = tuple[int, int]


@dataclass(frozen=True)
class _Grounding:
    phrase: str
    span: Span | None
    segmentation: Any


@dataclass(frozen=True)
class GroundedCaptionRecord:
    """One picture, its caption and the masks of its phrases, not yet decoded.

    Attributes:
        path: the picture's file.
        size_hw: (height, width) as the data say; None if they don't.
        split: by the JSON's name.
        caption: the sentence; its grounded phrases are the segments' names.
    """

    path: Path
    size_hw: tuple[int, int] | None
    split: str
    caption: str
    _groundings: tuple[_Grounding, ...] = field(repr=False)

    @property
    def source(self) -> str:
        """The picture's file name."""
        return self.path.name

    def regions(self) -> tuple[Region, ...]:
        """None: nothing is pointed at."""
        return ()

    def load(self) -> GroundTruth:
        """The picture, a segment for each phrase that has pixels, named by it, and the caption with its spans.

        Phrases that overlap an earlier one in the caption, or aren't found in it, keep their segment and lose their
        span.

        Raises:
            DatasetError: the picture can't be read or has another size, or a mask is damaged.
        """
        image = read_rgb(self.path, self.size_hw)
        size_hw = (image.shape[0], image.shape[1])
        kept: list[_Grounding] = []
        masks: list[Mask] = []
        for grounding in self._groundings:
            try:
                mask = segmentation_as_coco(grounding.segmentation, size_hw)
            except ValueError as error:
                raise DatasetError(f"{self.path}: the mask of '{grounding.phrase}': {error}") from error
            if mask.any():
                kept.append(grounding)
                masks.append(mask)
        return GroundTruth(
            image=image,
            masks=np.stack(masks) if masks else np.zeros((0, *size_hw), np.bool_),
            names=tuple(grounding.phrase for grounding in kept),
            is_thing=np.ones(len(masks), np.bool_),
            is_crowd=np.zeros(len(masks), np.bool_),
            captions=(Caption(self.caption, tuple(_spans(kept))),),
            source=self.source,
        )


def _spans(groundings: Sequence[_Grounding]) -> Iterable[tuple[int, int, tuple[int, ...]]]:
    """Spans without overlaps, from left to right; of phrases at one place, all segments together."""
    at: dict[Span, list[int]] = {}
    for index, grounding in enumerate(groundings):
        if grounding.span is not None:
            at.setdefault(grounding.span, []).append(index)
    reached = 0
    for (start, end), segments in sorted(at.items()):
        if start >= reached:
            yield start, end, tuple(segments)
            reached = end


def open_grounded_captions(wanted: Wanted) -> Dataset:
    """Any of the forms as a data set.

    Raises:
        DatasetError: none of the forms; the captions' file is missing; captions and masks don't fit together; no
            pictures in the usual places.
    """
    file = wanted.path
    content = read_json(file) if wanted.content is None else wanted.content
    with in_format(file, "a form of GranD-f's grounded captions"):
        if isinstance(content, list):
            first = content[0]
            rows = [_grand(row) for row in content] if "groundings" in first else [_refcocog(row) for row in content]
        elif MASKS in file.stem or CAPTIONS in file.stem:
            rows = _val_test(file)
        else:
            rows = _flickr(content)
        folder = picture_folder(wanted.images, _picture_folders(file), [row.file_name for row in rows])
    records = [
        GroundedCaptionRecord(folder / row.file_name, row.size_hw, split_in_name(file), row.caption, row.groundings)
        for row in rows
        if row.groundings
    ]
    return Dataset(
        name=f"GranD-f ({file.stem})",
        format="gcg",
        split=wanted.split or split_in_name(file),
        categories=(),
        tasks=(Task.GCG,),
        labelling="phrases",
        records=of_split(records, wanted.split, str(file)),
        notes=(f"{len(rows) - len(records)} pictures without a grounded phrase left out",),
    )


@dataclass(frozen=True)
class _Row:
    file_name: str
    size_hw: tuple[int, int] | None
    caption: str
    groundings: tuple[_Grounding, ...]


def _grand(row: Mapping[str, Any]) -> _Row:
    caption = _clean(row["caption"])
    groundings = [
        _Grounding(_clean(phrase), _span(one["token_positives"], caption, _clean(phrase)), one["rle_masks"])
        for phrase, one in row["groundings"].items()
    ]
    return _Row(row["file_name"], _size(row), caption, tuple(groundings))


def _refcocog(entry: Mapping[str, Any]) -> _Row:
    (row,) = entry.values()
    caption = _clean(row["caption"])
    groundings = []
    for one in row["refs"]:
        phrase = _clean(one["sentence"])
        span = _find(phrase, caption)
        if span is not None:  # as GLaMM and X-SAM: phrases that the caption doesn't hold are not of it
            groundings.append(_Grounding(phrase, span, one["segmentation"]))
    return _Row(row["img_file_name"], _size(row), caption, tuple(groundings))


def _flickr(content: Mapping[str, Any]) -> list[_Row]:
    own: dict[Any, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        own[annotation["image_id"]].append(annotation)
    rows = []
    for image in content["images"]:
        caption = _clean(image["caption"])
        groundings = []
        for annotation in own[image["id"]]:
            start, end = annotation["tokens_positive"][0]
            phrase = caption[start:end]
            groundings.append(_Grounding(phrase, _span((start, end), caption, phrase), annotation["sam_mask"]))
        # GLaMM and X-SAM pass over captions of one or two words.
        rows.append(
            _Row(
                image["file_name"],
                _size(image),
                caption,
                tuple(groundings) if len(caption.split(" ")) >= 3 else (),
            )
        )
    return rows


def _val_test(file: Path) -> list[_Row]:
    masks, captions = (
        file.with_name(file.name.replace(MASKS, part).replace(CAPTIONS, part)) for part in (MASKS, CAPTIONS)
    )
    segmentations: dict[Any, list[Any]] = {}
    mask_content = read_json(masks)
    with in_format(masks, "GranD-f's masks in COCO format"):
        image_of = {image["id"]: image for image in mask_content["images"]}
        for annotation in mask_content["annotations"]:
            segmentations.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
    caption_content = read_json(captions)
    with in_format(captions, "GranD-f's captions in COCO format"):
        caption_of = {one["image_id"]: one for one in caption_content["annotations"]}
        rows = []
        for number, image in image_of.items():
            own, labels = segmentations.get(number, []), [_clean(label) for label in caption_of[number]["labels"]]
            caption = _clean(caption_of[number]["caption"])
            unnamed = [("object", None)] * max(0, len(own) - len(labels))
            named = [*zip(labels, _find_all(labels, caption), strict=True), *unnamed]
            groundings = tuple(_Grounding(*name, mask) for name, mask in zip(named, own, strict=False))
            rows.append(_Row(f"{number}.jpg", _size(image), caption, groundings))
        return rows


def _find_all(phrases: Sequence[str], caption: str) -> list[Span | None]:
    """Where phrases stand in a caption; a repeated one at its next place."""
    reached: dict[str, int] = {}
    spans = []
    for phrase in phrases:
        span = _find(phrase, caption, reached.get(phrase, 0)) or _find(phrase, caption)
        reached[phrase] = span[1] if span else 0
        spans.append(span)
    return spans


def _find(phrase: str, caption: str, after: int = 0) -> Span | None:
    """Where a phrase stands in a caption, whatever its case; None if nowhere."""
    start = caption.lower().find(phrase.lower(), after) if phrase else -1
    return None if start < 0 else (start, start + len(phrase))


def _span(given: Sequence[int], caption: str, phrase: str) -> Span | None:
    """The given place if it lies in the caption, else wherever the phrase is found."""
    start, end = (int(place) for place in given)
    return (start, end) if 0 <= start < end <= len(caption) else _find(phrase, caption)


def _clean(text: str) -> str:
    return text.strip('"').strip()


def _size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    return (int(row["height"]), int(row["width"])) if row.get("height") is not None else None


def _picture_folders(file: Path) -> list[Path]:
    """As GLaMM (its spelling of flickr included) and X-SAM lay them out, around ``annotations/train``."""
    part = file.parent.name
    inner = ["", f"GranDf_HA_images/{part}", f"GranDf/GranDf_HA_images/{part}", "flickr30k/images/train"]
    inner += ["flikcr_30k/train", "coco2017/train2017", "coco2017", "coco_2017/train2017"]
    inner += ["coco2014/train2014", "coco_2014/train2014"]
    roots = (file.parent, *list(file.parents)[1:4])
    return [root / between / name for root in roots for between in ("", "images") for name in inner]
