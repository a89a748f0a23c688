"""ADE20K's scene parsing benchmark (A150) as its archive ADEChallengeData2016 has it: one class per pixel.

    images/validation/ADE_val_00000001.jpg
    annotations/validation/ADE_val_00000001.png    one byte a pixel: 0 void, 1 to 150 a class

Objects aren't told apart, so only semantic measures fit. For panoptic and instance measures point to
``ade20k_panoptic_val.json`` and ``ade20k_instance_val.json``, which Mask2Former's scripts make of the archive: they
are in COCO's formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.ade20k_names import ADE20K_NAMES
from xsam_backend.evaluation.datasets.reading import read_label_map, read_rgb
from xsam_backend.evaluation.datasets.records import Dataset, Wanted, categories_of, of_split
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.prompts import Region, Task

FOLDER_OF: Mapping[str, str] = {"val": "validation", "train": "training"}
"""Split -> its folder below ``images`` and ``annotations``."""


@dataclass(frozen=True)
class SemanticRecord:
    """One picture and its map of classes, not yet decoded.

    Attributes:
        path: the picture's file.
        png: the map's file.
        split: "train" or "val".
    """

    path: Path
    png: Path
    split: str

    @property
    def source(self) -> str:
        """The picture's file name."""
        return self.path.name

    def regions(self) -> tuple[Region, ...]:
        """None: the format gives no prompts."""
        return ()

    def load(self) -> GroundTruth:
        """The picture with one segment per class, all as stuff. Void pixels are ignored ones.

        Raises:
            DatasetError: a file is missing, of another size than the other, or holds an unknown class.
        """
        image = read_rgb(self.path)
        size_hw = (image.shape[0], image.shape[1])
        classes = read_label_map(self.png, "L", size_hw)
        present = [int(number) for number in np.unique(classes) if number]
        if present and present[-1] > len(ADE20K_NAMES):
            raise DatasetError(
                f"{self.png}: expected classes 0 to {len(ADE20K_NAMES)}, got {present[-1]}: take the archive's own "
                "annotations, not those counted from 0 (annotations_detectron2)"
            )
        return GroundTruth(
            image=image,
            masks=np.stack([classes == number for number in present])
            if present
            else np.zeros((0, *size_hw), np.bool_),
            names=tuple(ADE20K_NAMES[number - 1] for number in present),
            is_thing=np.zeros(len(present), np.bool_),
            is_crowd=np.zeros(len(present), np.bool_),
            complete_for=frozenset(ADE20K_NAMES),
            source=self.source,
            ignored=classes == 0,
        )


def open_ade20k(wanted: Wanted) -> Dataset:
    """The archive's folder as a data set.

    Raises:
        DatasetError: not the archive's layout, or nothing of that split.
    """
    pictures = wanted.images or wanted.path / "images"
    records = [
        SemanticRecord(path, wanted.path / "annotations" / folder / f"{path.stem}.png", split)
        for split, folder in FOLDER_OF.items()
        for path in sorted((pictures / folder).glob("*.jpg"))
    ]
    if not records or not (wanted.path / "annotations").is_dir():
        raise DatasetError(
            f"{wanted.path}: expected images/validation/*.jpg and annotations/validation/*.png, as in "
            "ADEChallengeData2016: point to the folder that holds both"
        )
    return Dataset(
        name="ADE20K (A150, semantic)",
        format="ade20k",
        split=wanted.split or "",
        categories=categories_of(ADE20K_NAMES, frozenset(ADE20K_NAMES)),
        tasks=(Task.OPEN_VOCABULARY,),
        labelling="semantic",
        records=of_split(records, wanted.split, str(wanted.path)),
        notes=("void pixels count neither way",),
    )
