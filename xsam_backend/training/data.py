"""From a config's data to the questions of each stage: which pictures, how often, what is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.coco_folder import CocoFolder, CocoRecord
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.datasets.snapshot import SnapshotRecord
from xsam_backend.model.config import XSamConfig
from xsam_backend.scenes.vocabulary import STUFF_NAMES, THING_NAMES
from xsam_backend.training.config import DatasetData, PhotoData, StageConfig, TrainConfig
from xsam_backend.training.copy_paste import Cutouts
from xsam_backend.training.sources import Part, Photos, QuestionSet, Scenes, Source, told_words


@dataclass(frozen=True)
class OpenedData:
    """A part of the data: where its pictures come from and how often they are drawn."""

    source: Source
    share: float


def open_data(config: TrainConfig, side: int) -> dict[str, OpenedData]:
    """All parts by their names. ``side`` is the longer side of drawn scenes, in pixels.

    Raises:
        DatasetError: a folder that is missing or damaged, or of which nothing is left.
    """
    sources: dict[str, Source] = {}
    counts: dict[str, int] = {}
    for part in config.data:
        if isinstance(part, PhotoData | DatasetData):
            photos = _pasted(part, config) if isinstance(part, PhotoData) else _dataset(part, config)
            sources[part.name], counts[part.name] = photos, len(photos.records)
        else:
            sources[part.name], counts[part.name] = Scenes((*THING_NAMES, *STUFF_NAMES), side), part.pictures
    if config.oversample is None:
        shares = {part.name: part.share or 0.0 for part in config.data}
    else:
        shares = dict(zip(counts, balanced_shares(list(counts.values()), config.oversample), strict=True))
    return {name: OpenedData(source, shares[name]) for name, source in sources.items()}


def streams(
    config: TrainConfig, opened: Mapping[str, OpenedData], model: XSamConfig, tokenizer: Any
) -> list[QuestionSet]:
    """The questions of each stage."""
    words = told_words(part.source for part in opened.values())
    return [
        QuestionSet(
            _parts(config, stage, opened),
            model,
            tokenizer,
            config.seed_of(number),
            config.least_px,
            words,
            stage.pictures if stage.batches == "one task" else None,
        )
        for number, stage in enumerate(config.stages)
    ]


def balanced_shares(counts: Sequence[int], oversample: float) -> list[float]:
    """How often each data set is drawn, adding up to 1: by its size, small ones more often.

    The paper's resampling: a set with the share f of all pictures is repeated max(1, sqrt(t / f)) times, t being
    ``oversample`` (0.1 in the authors' configs).
    """
    total = sum(counts)
    weights = [count * max(1.0, math.sqrt(oversample * total / count)) for count in counts]
    return [weight / sum(weights) for weight in weights]


def _parts(config: TrainConfig, stage: StageConfig, opened: Mapping[str, OpenedData]) -> list[Part]:
    return [
        Part(
            opened[part.name].source,
            opened[part.name].share,
            (stage.questions or part.questions).by_task,
            part.name,
            part.views,
            part.pointed_at == "large objects",
        )
        for part in config.data
        if not stage.data or part.name in stage.data
    ]


def _pasted(part: PhotoData, config: TrainConfig) -> Photos:
    """A part's photos, with what is pasted into them; those names may be asked for as well."""
    records, names = _photos(part, config)
    if not part.paste:
        return Photos(records, names)
    donors = [other for other in config.data if other.name in (part.paste_from or (part.name,))]
    found = [_photos(other, config) for other in donors if isinstance(other, PhotoData)]
    cutouts = Cutouts([record for of_donor, _ in found for record in of_donor])
    return Photos(records, sorted({*names, *(name for _, more in found for name in more)}), cutouts, part.paste)


def _photos(part: PhotoData, config: TrainConfig) -> tuple[list[CocoRecord], list[str]]:
    """The records that the config leaves, and all class names of the split: also those that none of the rest has."""
    folder = config.data_folder / part.folder
    records = CocoFolder(folder).records(part.split)
    names = sorted({name for record in records for name in (*record.names, *record.complete_for)})
    kept = [
        record
        for number, record in enumerate(records)
        if not (part.leave_out_every and number % part.leave_out_every == 0)
        and not (part.commercial_only and record.noncommercial_only)
        and fnmatch(record.path.name, part.files)
        and not fnmatch(record.path.name, part.except_files)
    ]
    if not kept:
        raise DatasetError(
            f"data '{part.name}': {folder} has {len(records)} pictures of split '{part.split}', of which files, "
            "except_files, leave_out_every and commercial_only leave none: change those"
        )
    return kept, names


def _dataset(part: DatasetData, config: TrainConfig) -> Photos:
    images = config.data_folder / part.images if part.images else None
    opened = open_dataset(
        config.data_folder / part.path, part.format, split=part.split, images=images, only=part.only
    )
    weights = [record.weight for record in opened.records if isinstance(record, SnapshotRecord)] or None
    return Photos(opened.records, [category.label for category in opened.categories], weights=weights)
