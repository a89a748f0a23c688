"""Which of the formats a folder or a file is in, by what is in it; several where that leaves a doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xsam_backend.evaluation.datasets.grounded_captions import CAPTIONS, MASKS
from xsam_backend.evaluation.datasets.snapshot import SNAPSHOT


def formats_of_folder(folder: Path) -> list[str]:
    """Names of the formats that the folder's layout fits."""
    found = []
    if any(folder.glob("*refs(*).*")):
        found.append("refcoco")
    elif (folder / "instances.json").exists():
        found.append("coco")
    if (folder / "panoptic.json").exists():
        found.append("panoptic")
    if any((folder / "images" / part).is_dir() and (folder / "annotations" / part).is_dir() for part in _ADE20K):
        found.append("ade20k")
    if any(_has_pairs(inner) for inner in (folder, *(folder / split for split in ("train", "val", "test")))):
        found.append("reasonseg")
    return found


_ADE20K = ("validation", "training")


def _has_pairs(folder: Path) -> bool:
    """Whether a JSON has a picture of the same name beside it, as every one in ReasonSeg has."""
    return any(file.with_suffix(".jpg").exists() for file in folder.glob("*.json"))


def formats_of_content(file: Path, content: Any) -> list[str]:
    """Names of the formats that a file fits: by its parsed JSON, or by its name where it is no JSON."""
    if content is None:
        return ["refcoco"] if file.suffix in (".p", ".jsonl") else []
    if isinstance(content, list):
        return _of_list(file, content[0]) if content and isinstance(content[0], Mapping) else []
    return _of_coco_like(file, content) if isinstance(content, Mapping) else []


def _of_list(file: Path, first: Mapping[str, Any]) -> list[str]:
    inner = next(iter(first.values()), None)
    if "data" in first and "annotations" in first:
        return ["label-studio"]
    if "groundings" in first or (len(first) == 1 and isinstance(inner, Mapping) and "refs" in inner):
        return ["gcg"]
    if "sentences" in first or ("anns" in first and "instruction" in first):
        return ["refcoco"]
    if "anns" in first:
        return ["coco-interactive"]
    if "visual_prompts" in _first(first.get("annotations")):
        # X-SAM writes both benchmarks in this form; its own files are told by their names.
        named = [form for part, form in (("vgd", "coco-vgd"), ("int", "coco-interactive")) if part in file.stem]
        return named if len(named) == 1 else ["coco-vgd", "coco-interactive"]
    return []


def _of_coco_like(file: Path, content: Mapping[str, Any]) -> list[str]:
    if SNAPSHOT in content:
        return ["snapshot"]
    picture, annotation = _first(content.get("images")), _first(content.get("annotations"))
    if MASKS in file.stem or CAPTIONS in file.stem or "sam_mask" in annotation:
        return ["gcg"]
    if "segments_info" in annotation:
        return ["panoptic"]
    if "caption" in picture and "original_id" in annotation:
        return ["refcoco"]
    return ["coco"] if "images" in content and "categories" in content else []


def _first(rows: object) -> Mapping[str, Any]:
    """The first of a list of objects; an empty one if there is none."""
    is_list = isinstance(rows, Sequence) and rows and isinstance(rows[0], Mapping)
    return rows[0] if is_list else {}  # type: ignore[index]
