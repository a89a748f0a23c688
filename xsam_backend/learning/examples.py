"""Accepted objects to find others by: of each label a few, from the pictures that were accepted last."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from xsam_backend.geometry.masks import Mask
from xsam_backend.labelstudio.annotations import read_annotation
from xsam_backend.learning.choosing import Choice
from xsam_backend.prompts import MaskRegion

PICTURES = 5
"""So many pictures give a label's examples."""

SHARES_OF_SIZE = (0.5, 0.25, 0.75)
"""Which objects of one picture: by area, the middle one and those around it."""


@dataclass(frozen=True, eq=False)
class Example:
    """An object that somebody accepted.

    Attributes:
        label: its own.
        sha256: of the kept picture that it is on.
        region: the object's mask, in that picture's size.
    """

    label: str
    sha256: str
    region: MaskRegion


def examples_of(choices: Sequence[Choice], labels: Collection[str]) -> tuple[Example, ...]:
    """Examples of these labels, from the first of the choices that have some; none of what nobody has accepted."""
    examples: list[Example] = []
    pictures = dict.fromkeys(labels, 0)
    for choice in choices:
        if all(count >= PICTURES for count in pictures.values()):
            break
        for label, of_label in _objects(choice).items():
            if pictures.get(label, PICTURES) < PICTURES:
                pictures[label] += 1
                examples += of_label
    return tuple(examples)


def _objects(choice: Choice) -> dict[str, list[Example]]:
    """A few objects of each label on one picture."""
    picture = choice.picture
    if picture.sha256 is None or picture.size_hw is None:
        return {}
    alone = choice.is_alone
    read = read_annotation(
        choice.result,
        picture.size_hw,
        None if alone else picture.to_name,
        None if alone else picture.item_index,
    )
    by_label: dict[str, list[Mask]] = {}
    for region in read.regions:
        if region.label is not None and region.mask.any():
            by_label.setdefault(region.label, []).append(region.mask)
    chosen: dict[str, list[Example]] = {}
    for label, masks in by_label.items():
        masks.sort(key=lambda mask: int(mask.sum()))
        places = dict.fromkeys(round(share * (len(masks) - 1)) for share in SHARES_OF_SIZE)
        chosen[label] = [Example(label, picture.sha256, MaskRegion(masks[place], True)) for place in places]
    return chosen
