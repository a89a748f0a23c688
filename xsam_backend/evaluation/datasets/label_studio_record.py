"""One picture of a Label Studio task, with what an annotator accepted on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import DatasetError, ImageError, PromptError
from xsam_backend.evaluation.datasets.label_studio_pictures import Fetch, TaskPicture
from xsam_backend.evaluation.datasets.linked_captions import linked_caption, relation_captions
from xsam_backend.evaluation.datasets.reading import in_format
from xsam_backend.geometry.masks import Mask
from xsam_backend.ground_truth import Caption, Expression, GroundTruth
from xsam_backend.labelstudio.annotations import picture_size_hw, read_annotation
from xsam_backend.labelstudio.regions import geometry_of, region_texts
from xsam_backend.prompts import Region

UNLABELLED = "object"
"""The class of regions without a label."""

_DRAWN = frozenset({"polygon", "brush", "bitmask", "rectangle", "ellipse"})
_SAME_SHAPE = 0.01
"""Sides may differ by this share: a smaller copy of a picture has rounded ones."""


@dataclass(frozen=True)
class LabelStudioRecord:
    """One picture of a task, not yet fetched.

    Attributes:
        source: the task, and the picture's file name.
        task_id: its number in Label Studio.
        picture: where it is, and which one it is.
        complete_for: the labels of the project.
        stuff: those of them that aren't countable.
        emphasis: how much more often than others regions are asked about in training, by region id; 1 without.
        split: none: Label Studio knows no splits.
    """

    source: str
    task_id: int | None
    picture: TaskPicture
    complete_for: frozenset[str]
    stuff: frozenset[str]
    emphasis: Mapping[str, float] = field(default_factory=dict)
    split: str = ""
    _result: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    _captions_from: frozenset[str] = field(default=frozenset(), repr=False)
    _rest: frozenset[str] = field(default=frozenset(), repr=False)
    _fetch: Fetch | None = field(default=None, repr=False)

    def regions(self) -> tuple[Region, ...]:
        """None: what is drawn is the truth."""
        return ()

    def load(self) -> GroundTruth:
        """Fetches the picture and draws the accepted regions.

        Raises:
            DatasetError: the picture can't be had, or isn't the one that was labelled, or a region is damaged.
        """
        assert self._fetch is not None
        try:
            image = self._fetch(self.picture.address, self.task_id)
        except ImageError as error:
            raise DatasetError(f"{self.source}: {error}") from error
        size_hw = (image.shape[0], image.shape[1])
        self._check_size(size_hw)
        annotation = read_annotation(self._result, size_hw, self.picture.to_name, self.picture.item_index)
        drawn = {number for region in annotation.regions for number in region.ids}
        for number, reason in annotation.left_out:
            if number not in drawn and any(one.get("id") == number and is_object(one) for one in self._result):
                raise DatasetError(f"{self.source}: {reason}: mend or delete the region in Label Studio")
        masks: list[Mask] = []
        names: list[str] = []
        segment_of: dict[str, int] = {}
        for region in annotation.regions:
            name = region.label or UNLABELLED
            if name in self._rest:
                continue
            if name in self.stuff and name in names:
                segment = names.index(name)
                masks[segment] = masks[segment] | region.mask
            else:
                segment = len(names)
                masks.append(region.mask)
                names.append(name)
            segment_of.update(dict.fromkeys(region.ids, segment))
        with in_format(self.source, "texts and relations as Label Studio exports them"):
            phrases, captions = tuple(self._phrases(segment_of)), tuple(self._captions(segment_of, names))
        return GroundTruth(
            image=image,
            masks=np.stack(masks) if masks else np.zeros((0, *size_hw), np.bool_),
            names=tuple(names),
            is_thing=np.array([name not in self.stuff for name in names], np.bool_),
            is_crowd=np.zeros(len(names), np.bool_),
            complete_for=self.complete_for,
            referring=phrases,
            captions=captions,
            emphasis=self._emphasis(segment_of, len(names)),
            source=self.source,
        )

    def _emphasis(self, segment_of: Mapping[str, int], count: int) -> NDArray[np.float64] | None:
        """Of each segment the largest among its regions'."""
        if not self.emphasis:
            return None
        found = np.zeros(count)
        for number, segment in segment_of.items():
            found[segment] = max(found[segment], self.emphasis.get(number, 1.0))
        return found

    def _check_size(self, size_hw: tuple[int, int]) -> None:
        reason = is_another_picture([one for one in self._result if self._is_here(one)], size_hw)
        if reason:
            raise DatasetError(f"{self.source}: {reason}")

    def _is_here(self, region: Mapping[str, Any]) -> bool:
        to_name, index = self.picture.to_name, self.picture.item_index
        return (to_name is None or region.get("to_name") == to_name) and (
            index is None or region.get("item_index", 0) == index
        )

    def _phrases(self, segment_of: Mapping[str, int]) -> Iterable[Expression]:
        for one in self._result:
            segment = segment_of.get(str(one.get("id")))
            if geometry_of(one) == "textarea" and segment is not None:
                yield from (Expression(text, (segment,)) for text in self._texts(one))

    def _captions(self, segment_of: Mapping[str, int], names: Sequence[str]) -> Iterable[Caption]:
        phrases = list(self._said_of_regions(segment_of))
        for one in self._result:
            if one.get("type") == "relation":
                yield from relation_captions(one, segment_of, names)
            elif (
                geometry_of(one) == "textarea"
                and str(one.get("id")) not in segment_of
                and one.get("from_name") in self._captions_from
                and self._is_here(one)
            ):
                yield from (linked_caption(text, phrases) for text in self._texts(one))

    def _said_of_regions(self, segment_of: Mapping[str, int]) -> Iterable[tuple[str, int]]:
        """(words, segment): what per-region text areas say, and notes."""
        for one in self._result:
            segment = segment_of.get(str(one.get("id")))
            if segment is None:
                continue
            note = one.get("meta")
            if geometry_of(one) == "textarea":
                yield from ((text, segment) for text in self._texts(one))
            elif isinstance(note, Mapping) and isinstance(note.get("text"), list):
                yield from ((text, segment) for text in note["text"] if isinstance(text, str))

    def _texts(self, region: Mapping[str, Any]) -> list[str]:
        try:
            return [" ".join(text.split()) for text in region_texts(region) if text.strip()]
        except PromptError as error:
            raise DatasetError(f"{self.source}: {error}") from error


def is_another_picture(result: Sequence[Mapping[str, Any]], size_hw: tuple[int, int]) -> str:
    """Why a picture of this size, px, can't be the one that these regions were drawn on; "" where it may be."""
    labelled = picture_size_hw(result)
    if labelled is None or labelled == size_hw:
        return ""
    if abs(labelled[0] * size_hw[1] / (labelled[1] * size_hw[0]) - 1) <= _SAME_SHAPE:
        return ""
    return (
        f"its regions were drawn on {labelled[1]} x {labelled[0]} px, the picture has {size_hw[1]} x {size_hw[0]}: "
        "it is not the one that was labelled"
    )


def is_object(region: Mapping[str, Any]) -> bool:
    """Whether a region draws an object: it has an area, is finished, and isn't a prompt."""
    value = region.get("value")
    unfinished = isinstance(value, Mapping) and value.get("closed") is False
    return geometry_of(region) in _DRAWN and "is_positive" not in region and not unfinished
