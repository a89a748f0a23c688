"""How good a model's masks are: one prompt per instance on photos, and on drawn scenes that were never trained on.

    python -m benchmarks.quality --data ../shared/data --split val

``--split tune`` takes the training photos that the recipe sets aside; use that while changing things. Every photo
number stands beside its control: the same prompt on the pixels of another photo, or another phrase.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from xsam_backend.evaluation.average_precision import AveragePrecision
from xsam_backend.evaluation.datasets.coco_folder import CocoFolder
from xsam_backend.evaluation.overlaps import Overlap, c_iou, g_iou
from xsam_backend.evaluation.simulated_prompts import centre_click, exact_box
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.model.predictor import ImageState, Predictor, load_predictor
from xsam_backend.prompts import Category, Prompt, Region, Task
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, draw_scene
from xsam_backend.training.tiny import TUNING_EVERY

LEAST_PX = 1000
"""Smaller instances are not asked for on photos."""


@dataclass
class Tally:
    """Overlaps by name of the measure."""

    overlaps: dict[str, list[Overlap]] = field(default_factory=dict)

    def add(self, name: str, predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
        """Count one prediction."""
        self.overlaps.setdefault(name, []).append(Overlap.of(predicted, truth))


def one_mask(predictor: Predictor, state: ImageState, prompt: Prompt) -> NDArray[np.bool_]:
    """The best mask, empty if there is none."""
    instances = predictor.answer(state, prompt).instances
    return instances.masks[0] if len(instances) else np.zeros(state.size_hw, np.bool_)


def interactive(region: Region) -> Prompt:
    """One region, whatever its score."""
    return Prompt(Task.INTERACTIVE, (region,), score_threshold=0.0)


def referring(phrase: str) -> Prompt:
    """One phrase, whatever its score."""
    return Prompt(Task.REFERRING, phrase=phrase, score_threshold=0.0)


def photo_tally(predictor: Predictor, photos: list[GroundTruth]) -> Tally:
    """Box, click and class-name phrase on every photo, each with its control."""
    tally = Tally()
    phrases = sorted({(i, name) for i, photo in enumerate(photos) for name in photo.names})
    swapped = _swap([name for _, name in phrases], [set(photos[i].names) for i, _ in phrases])
    other_phrase = dict(zip(phrases, swapped, strict=True))
    for index, photo in enumerate(tqdm(photos, desc="photos", leave=False)):
        state = predictor.encode(photo.image)
        height, width = photo.size_hw
        foreign = predictor.encode(cv2.resize(photos[(index + 1) % len(photos)].image, (width, height)))
        for mask in _wanted(photo):
            for name, region in (("box", exact_box(mask)), ("click", centre_click(mask))):
                tally.add(name, one_mask(predictor, state, interactive(region)), mask)
                tally.add(f"{name}, other photo", one_mask(predictor, foreign, interactive(region)), mask)
            filled = np.zeros_like(mask)
            x0, y0, x1, y1 = (int(edge) for edge in exact_box(mask).corners[[0, 2]].flatten())
            filled[y0:y1, x0:x1] = True
            tally.add("filled box", filled, mask)
        for name in sorted(set(photo.names)):
            truth = photo.union([i for i, own in enumerate(photo.names) if own == name])
            tally.add("phrase", one_mask(predictor, state, referring(name)), truth)
            tally.add("phrase, swapped", one_mask(predictor, state, referring(other_phrase[index, name])), truth)
            tally.add("phrase, other photo", one_mask(predictor, foreign, referring(name)), truth)
    return tally


def scene_tally(predictor: Predictor, scenes: Iterator[GroundTruth], total: int) -> tuple[Tally, AveragePrecision]:
    """Click on each thing, each phrase, and VGD from one exemplar per class, on drawn scenes."""
    tally, like = Tally(), AveragePrecision()
    for index, scene in enumerate(tqdm(scenes, total=total, desc="scenes", leave=False)):
        rng = np.random.default_rng([7, index])
        state = predictor.encode(scene.image)
        things = [i for i in range(len(scene.names)) if scene.is_thing[i]]
        for i in things:
            tally.add("click", one_mask(predictor, state, interactive(centre_click(scene.masks[i]))), scene.masks[i])
            tally.add("box", one_mask(predictor, state, interactive(exact_box(scene.masks[i]))), scene.masks[i])
        for expression in scene.referring:
            if expression.segments:
                truth = scene.union(expression.segments)
                tally.add("phrase", one_mask(predictor, state, referring(expression.text)), truth)
        name = scene.names[int(rng.choice(things))]
        alike = [i for i in things if scene.names[i] == name]
        exemplar = exact_box(scene.masks[int(rng.choice(alike))])
        prompt = Prompt(Task.VGD, (exemplar,), (Category(name, name),), score_threshold=0.0)
        found = predictor.answer(state, prompt).instances
        like.add(found, scene.masks[alike], [name] * len(alike), np.zeros(len(alike), np.bool_))
    return tally, like


def _wanted(photo: GroundTruth) -> Iterator[NDArray[np.bool_]]:
    for mask, crowd in zip(photo.masks, photo.is_crowd, strict=True):
        if not crowd and mask.sum() >= LEAST_PX:
            yield mask


def _swap(names: list[str], present: list[set[str]]) -> list[str]:
    """For each phrase the next one in the list that names nothing in its picture."""
    return [next(n for n in names[i + 1 :] + names[: i + 1] if n not in there) for i, there in enumerate(present)]


def measure(predictor: Predictor, photos: list[GroundTruth], scenes: int) -> dict[str, dict[str, float]]:
    """All numbers, by row."""
    rows: dict[str, dict[str, float]] = {}
    if photos:
        for name, overlaps in photo_tally(predictor, photos).overlaps.items():
            rows[f"photos: {name}"] = {"n": len(overlaps), "mIoU": g_iou(overlaps), "cIoU": c_iou(overlaps)}
    drawn = (draw_scene(FIRST_HELD_OUT_SEED + i) for i in range(scenes))
    tally, like = scene_tally(predictor, drawn, scenes)
    for name, overlaps in tally.overlaps.items():
        rows[f"scenes: {name}"] = {"n": len(overlaps), "mIoU": g_iou(overlaps), "cIoU": c_iou(overlaps)}
    rows["scenes: VGD AP50"] = {"n": scenes, "AP50": like.at(0.5)}
    return rows


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--split", type=click.Choice(["val", "tune"]), default="tune", show_default=True)
@click.option("--model", default="tiny", show_default=True, help="'tiny' or a model folder.")
@click.option("--scenes", default=100, show_default=True, help="How many held-out scenes.")
@click.option("--photos", default=0, help="Only the first so many photos; 0 for all.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the numbers here.")
def main(data: Path, split: str, model: str, scenes: int, photos: int, json_path: Path | None) -> None:
    """See the module's words."""
    predictor = load_predictor(model)
    folder = data / "photos"
    records = []
    if folder.is_dir():
        records = CocoFolder(folder).records("val" if split == "val" else "train")
        if split == "tune":
            records = records[::TUNING_EVERY]
    else:
        click.echo(f"{folder} is not there: scenes only", err=True)
    started = time.monotonic()
    rows = measure(predictor, [record.load() for record in records[: photos or None]], scenes)
    table = Table(title=f"{predictor.model_version}, split {split}, {len(records)} photos, {scenes} scenes")
    for column in ("measure", "n", "mIoU", "cIoU", "AP50"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for name, row in rows.items():
        table.add_row(
            name,
            str(int(row["n"])),
            *(f"{row[key]:.3f}" if key in row else "" for key in ("mIoU", "cIoU", "AP50")),
        )
    Console().print(table)
    click.echo(f"{time.monotonic() - started:.0f} s", err=True)
    if json_path is not None:
        json_path.write_text(json.dumps({"model_version": predictor.model_version, "split": split, "rows": rows}))


if __name__ == "__main__":
    main()
