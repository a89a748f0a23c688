"""Pictures to look at: what a model answers to clicks, boxes and phrases on photos and drawn scenes.

    python -m benchmarks.overlays --data ../shared/data --output overlays

Without the photos only scenes are drawn. ``--readme docs/overview.png`` writes the README's picture, a drawn scene.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.datasets.coco_folder import CocoFolder
from xsam_backend.evaluation.simulated_prompts import centre_click, exact_box
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.instances import Instances
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.overlay import draw_overlay
from xsam_backend.prompts import Box, Point, Prompt, Region, Task
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, draw_scene

README_SCENE = FIRST_HELD_OUT_SEED + 255


def asked(predictor: Predictor, state: ImageState, prompt: Prompt, label: str) -> Instances:
    """The answer, named after what was asked."""
    found = predictor.answer(state, prompt).instances
    return replace(found, labels=(label,) * len(found))


def panel(image: NDArray[np.uint8], instances: Instances, region: Region | None, title: str) -> NDArray[np.uint8]:
    """One overlay with its prompt drawn in: a white cross for a click, a white box."""
    drawn = draw_overlay(image, instances).copy()
    if isinstance(region, Point):
        at = (int(region.x_px), int(region.y_px))
        cv2.drawMarker(drawn, at, (0, 0, 0), cv2.MARKER_CROSS, 18, 5)
        cv2.drawMarker(drawn, at, (255, 255, 255), cv2.MARKER_CROSS, 16, 2)
    if isinstance(region, Box):
        corners = region.corners.round().astype(np.int32)
        cv2.polylines(drawn, [corners], True, (0, 0, 0), 4)
        cv2.polylines(drawn, [corners], True, (255, 255, 255), 2)
    scale = 320 / max(drawn.shape[:2])
    small = cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    framed = np.full((344, 320, 3), 255, np.uint8)
    framed[24 : 24 + small.shape[0], : small.shape[1]] = small
    cv2.putText(framed, title[:44], (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
    return framed


def strip(predictor: Predictor, truth: GroundTruth, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A click, a box and a phrase on one picture, side by side."""
    state = predictor.encode(truth.image)
    areas = truth.masks.sum((1, 2)) * truth.is_thing
    index = int(rng.choice(np.argsort(-areas)[: max(3, len(areas) // 2)]))
    mask, name = truth.masks[index], truth.names[index]
    single = [e.text for e in truth.referring if e.segments == (index,)]
    phrase = single[0] if single else name
    point, box = centre_click(mask), exact_box(mask)
    panels = [
        panel(truth.image, asked(predictor, state, Prompt(Task.INTERACTIVE, (region,)), name), region, title)
        for region, title in ((point, f"click: {name}"), (box, f"box: {name}"))
    ]
    written = Prompt(Task.REFERRING, phrase=phrase, score_threshold=0.0)
    panels.append(panel(truth.image, asked(predictor, state, written, phrase), None, f'"{phrase}"'))
    return np.concatenate(panels, 1)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--model", default="tiny", show_default=True, help="'tiny' or a model folder.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("overlays"), show_default=True)
@click.option("--count", default=12, show_default=True, help="How many photos, and how many scenes.")
@click.option("--readme", type=click.Path(path_type=Path), help="Write the README's picture here, and nothing else.")
def main(data: Path, model: str, output: Path, count: int, readme: Path | None) -> None:
    """See the module's words."""
    predictor = load_predictor(model)
    if readme is not None:
        _write(readme, strip(predictor, draw_scene(README_SCENE, (384, 384)), np.random.default_rng(1)))
        return
    output.mkdir(parents=True, exist_ok=True)
    pictures = {"scenes": [draw_scene(FIRST_HELD_OUT_SEED + i) for i in range(count)]}
    if (data / "photos").is_dir():
        records = CocoFolder(data / "photos").records("val")
        pictures["photos"] = [record.load() for record in records[:: max(len(records) // count, 1)][:count]]
    for name, truths in pictures.items():
        strips = [strip(predictor, truth, np.random.default_rng(i)) for i, truth in enumerate(truths) if truth.names]
        for page in range(0, len(strips), 6):
            _write(output / f"{name}-{page // 6}.png", np.concatenate(strips[page : page + 6], 0))


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    click.echo(path, err=True)


if __name__ == "__main__":
    main()
