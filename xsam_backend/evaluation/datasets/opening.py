"""The front door of the readers: a path, and maybe the name of its format, to a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.ade20k import open_ade20k
from xsam_backend.evaluation.datasets.coco_folder import open_coco
from xsam_backend.evaluation.datasets.drawn_scenes import open_scenes
from xsam_backend.evaluation.datasets.fixed_prompts import open_interactive, open_vgd
from xsam_backend.evaluation.datasets.grounded_captions import open_grounded_captions
from xsam_backend.evaluation.datasets.label_studio import open_export
from xsam_backend.evaluation.datasets.panoptic_folder import open_panoptic
from xsam_backend.evaluation.datasets.reading import read_json
from xsam_backend.evaluation.datasets.reason_seg import open_reason_seg
from xsam_backend.evaluation.datasets.recognition import formats_of_content, formats_of_folder
from xsam_backend.evaluation.datasets.records import PROMPT_KINDS, Dataset, PromptKind, Wanted
from xsam_backend.evaluation.datasets.referring import open_referring
from xsam_backend.evaluation.datasets.snapshot import open_snapshot
from xsam_backend.labelstudio.images import ImageSource
from xsam_backend.labelstudio.label_config import LabelConfig

SCENES = "scenes"
"""In place of a path: drawn scenes, which need no files."""


@dataclass(frozen=True)
class Format:
    """One reader: what it reads, in words for people, and which fields of ``Wanted`` mean something to it."""

    words: str
    open: Callable[[Wanted], Dataset]
    takes: frozenset[str]


FORMATS: Mapping[str, Format] = {
    "coco": Format(
        "COCO instances: a folder with instances.json, or instances_val2017.json",
        open_coco,
        frozenset({"split", "images", "only"}),
    ),
    "panoptic": Format(
        "COCO panoptic: panoptic_val2017.json or ade20k_panoptic_val.json with its PNGs",
        open_panoptic,
        frozenset({"split", "images"}),
    ),
    "label-studio": Format(
        "Label Studio: a project's JSON export", lambda wanted: open_export(wanted), frozenset({"split", "images"})
    ),
    "snapshot": Format("what a fine-tuning of ours learned from, or was tested on", open_snapshot, frozenset()),
    "refcoco": Format(
        "RefCOCO, RefCOCO+, RefCOCOg, gRefCOCO: the folder with refs(unc).p, or PSALM's or MDETR's JSON",
        open_referring,
        frozenset({"split", "images"}),
    ),
    "reasonseg": Format(
        "ReasonSeg: the folder with its splits; only: sentence or phrase",
        open_reason_seg,
        frozenset({"split", "only"}),
    ),
    "gcg": Format(
        "GranD-f: val_gcg_coco_mask_gt.json, GranDf_HA_GCG_train.json and the like",
        open_grounded_captions,
        frozenset({"split", "images"}),
    ),
    "coco-vgd": Format(
        "COCO-VGD: X-SAM's coco_vgdseg_val.json; prompts: one of four kinds",
        open_vgd,
        frozenset({"split", "images", "prompts"}),
    ),
    "coco-interactive": Format(
        "COCO-Interactive: PSALM's coco_interactive_val_psalm.json; prompts: one of four kinds",
        open_interactive,
        frozenset({"split", "images", "prompts"}),
    ),
    "ade20k": Format(
        "ADE20K, semantic: the folder ADEChallengeData2016", open_ade20k, frozenset({"split", "images"})
    ),
    SCENES: Format("drawn scenes that no training sees", lambda _: open_scenes(), frozenset({"split"})),
}


def open_dataset(
    path: str | Path,
    format: str | None = None,
    *,
    split: str | None = None,
    limit: int | None = None,
    images: Path | None = None,
    only: str | None = None,
    prompts: PromptKind | None = None,
    label_config: LabelConfig | None = None,
    image_source: ImageSource | None = None,
) -> Dataset:
    """The data set at a path. (A project of a running Label Studio: ``label_studio.open_project``.)

    Args:
        path: a file or folder, or "scenes".
        format: a key of ``FORMATS``; None where the data tell it themselves.
        split: only this split; None for all.
        limit: at most so many pictures, evenly spaced; of drawn scenes the first so many.
        images: the folder of the pictures, where it isn't one of the usual ones.
        only: a part of the data, see the format.
        prompts: which of the benchmark's own prompts, where it has such.
        label_config: the project's, for a Label Studio export.
        image_source: how pictures of a Label Studio export are fetched, see ``label_studio.open_export``.

    Raises:
        DatasetError: nothing there, not in the format, no format or several fit, or an option that means nothing to
            this format.
    """
    if format is None and str(path) == SCENES:
        format = SCENES
    wanted = Wanted(Path(path).expanduser(), None, split, images, only, prompts)
    if format == SCENES:
        _check_options(format, wanted, label_config, image_source)
        return open_scenes(limit, split)
    if not wanted.path.exists():
        hint = " (options follow their data without a space: export.json,images=FOLDER)" if "=" in str(path) else ""
        raise DatasetError(f"expected a file or folder of labelled pictures at {wanted.path}, there is none{hint}")
    if format is not None and format not in FORMATS:
        raise DatasetError(f"expected one of the formats {', '.join(FORMATS)}, got '{format}'")
    content = read_json(wanted.path) if wanted.path.suffix == ".json" else None
    format = format or _recognised(wanted.path, content)
    _check_options(format, wanted, label_config, image_source)
    wanted = Wanted(wanted.path, content, split, images, only, prompts)
    if format == "label-studio":
        return open_export(wanted, label_config, image_source).limited(limit)
    return FORMATS[format].open(wanted).limited(limit)


def _recognised(path: Path, content: Any) -> str:
    """The one format that fits."""
    found = formats_of_folder(path) if path.is_dir() else formats_of_content(path, content)
    if len(found) == 1:
        return found[0]
    if path.is_dir() and not any(path.iterdir()):
        raise DatasetError(f"{path} is an empty folder: expected labelled pictures, in one of the forms of --format")
    listed = "\n".join(f"  {name}: {known.words}" for name, known in FORMATS.items() if not found or name in found)
    what = f"it may be any of {', '.join(found)}" if found else "it looks like none that can be read"
    raise DatasetError(f"{path}: {what}: say which format it is\n{listed}")


def _check_options(
    format: str, wanted: Wanted, label_config: LabelConfig | None, image_source: ImageSource | None
) -> None:
    """Options that would do nothing are mistakes."""
    given = {name for name in ("split", "images", "only", "prompts") if getattr(wanted, name) is not None}
    useless = sorted(given - FORMATS[format].takes)
    if format != "label-studio":
        useless += ["label_config"] * (label_config is not None) + ["image_source"] * (image_source is not None)
    if useless:
        raise DatasetError(f"{', '.join(useless)} means nothing to the format {format}: leave it out")
    if wanted.prompts is not None and wanted.prompts not in PROMPT_KINDS:
        raise DatasetError(f"expected prompts to be one of {', '.join(PROMPT_KINDS)}, got '{wanted.prompts}'")
