"""What each step of pointing is worth, on the same objects: close-ups, the choice among masks, the refiner.

python -m benchmarks.pointing_ways DATA/photos,split=val,least-px=1000 DATA/domain,split=val,only=nuclei --json FILE

Objects and clicks are those of `evaluate --tasks correction`. A click and a tight box as they are answered; without a
close-up of small objects; by the reference's rule (of the decoder's masks the one whose box fits the prompt's best);
and corrections by clicks, with and without the refiner. Differences are paired, object by object, with 95 % intervals
over pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.report import Table, as_json
from xsam_backend.cli.evaluation_data import DatasetSpec, Spec, opened
from xsam_backend.config import load_settings
from xsam_backend.evaluation.bootstrap import bootstrap
from xsam_backend.evaluation.correction import MOST_CLICKS, TARGET_IOUS, clicks_needed, corrected
from xsam_backend.evaluation.datasets.records import Dataset
from xsam_backend.evaluation.simulated_prompts import centre_click, exact_box
from xsam_backend.evaluation.tasks.correcting import NAME, USUAL_OBJECTS
from xsam_backend.evaluation.tasks.run import chance, chosen_objects
from xsam_backend.geometry.masks import Mask, mask_iou
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.prompts import Prompt, Region, Task

SEED = 0
AS_IS, NO_CLOSE_UP = "as it is", "without close-ups"
REFERENCE, KERNELS = "the reference's rule", "without the refiner"
Values = dict[tuple[str, str], list[float]]
"""(what, way) -> a number for each object of a picture."""


def predictors() -> dict[str, Predictor]:
    """One model, which answers in three ways."""
    whole = load_predictor("tiny")
    usual = whole.model.config
    found = {AS_IS: whole}
    for way, config in {
        NO_CLOSE_UP: replace(usual, close_up_share=0.0),
        KERNELS: replace(usual, refines_clicks=False),
    }.items():
        whole.model.config = config  # read when a predictor is made
        found[way] = Predictor(whole.model, whole.tokenizer, whole.model_version)
    whole.model.config = usual
    return found


def first_mask(predictor: Predictor, state: Any, regions: Sequence[Region], label: str) -> Mask:
    """What is answered; an empty mask for nothing."""
    found = predictor.answer(state, Prompt(Task.INTERACTIVE, tuple(regions), label=label, score_threshold=0.0))
    return found.instances.cropped[0].whole() if len(found.instances) else np.zeros(state.size_hw, np.bool_)


def by_rule(predictor: Predictor, state: Any, region: Region, label: str) -> Mask:
    """What the reference would choose."""
    found = predictor.candidates(state, Prompt(Task.INTERACTIVE, (region,), label=label)).closest()
    return found.cropped[0].whole() if len(found) else np.zeros(state.size_hw, np.bool_)


def of_picture(ways: Mapping[str, Predictor], truth: GroundTruth, least_px: int) -> Values:
    """Every chosen object of a picture, in every way."""
    areas, usable = truth.masks.sum((1, 2)).tolist(), (truth.is_thing & ~truth.is_crowd).tolist()
    chosen = chosen_objects(areas, usable, least_px, USUAL_OBJECTS, chance(SEED, truth.source, NAME))
    found: Values = {}
    states = {way: predictor.encode(truth.image, keeps_looks=True) for way, predictor in ways.items()}
    for index in chosen:
        mask, label = truth.masks[index], truth.names[index]
        for what, region in (("click", centre_click(mask)), ("box", exact_box(mask))):
            for way in (AS_IS, NO_CLOSE_UP):
                answered = first_mask(ways[way], states[way], [region], label)
                found.setdefault((what, way), []).append(mask_iou(answered, mask))
            answered = by_rule(ways[AS_IS], states[AS_IS], region, label)
            found.setdefault((what, REFERENCE), []).append(mask_iou(answered, mask))
        for way in (AS_IS, KERNELS):
            trace = corrected(
                lambda clicks, way=way, label=label: first_mask(ways[way], states[way], clicks, label), mask
            )
            for target in TARGET_IOUS:
                needed = float(clicks_needed(trace, target) or MOST_CLICKS)
                found.setdefault((f"clicks to {target:.0%}", way), []).append(needed)
    return found


def mean_of(pictures: Sequence[Values], what: str, way: str, without: str | None = None) -> str:
    """Mean over objects with its interval; with ``without``, of the differences from that way."""

    def of(drawn: NDArray[np.intp]) -> float:
        values: list[float] = []
        for number in drawn:
            mine = pictures[number].get((what, way), [])
            others = pictures[number].get((what, without), []) if without is not None else [0.0] * len(mine)
            values += [one - other for one, other in zip(mine, others, strict=True)]
        return float(np.mean(values)) if values else float("nan")

    estimate = bootstrap(of, len(pictures), seed=SEED)
    sign = "+" if without is not None else ""
    return f"{estimate.value:{sign}.3f} ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})"


def rows_of(name: str, pictures: Sequence[Values]) -> Iterator[tuple[str | float, ...]]:
    """One row for each thing measured and each way."""
    objects = sum(len(one.get(("click", AS_IS), [])) for one in pictures)
    for what, way in dict.fromkeys(key for one in pictures for key in one):
        gain = "" if way == AS_IS else mean_of(pictures, what, AS_IS, way)
        yield name, objects, what, way, mean_of(pictures, what, way), gain


def measured(ways: Mapping[str, Predictor], dataset: Dataset, least_px: int) -> list[Values]:
    """All pictures."""
    records = tqdm(dataset.records, desc=dataset.name, mininterval=30)
    return [of_picture(ways, record.load(), least_px) for record in records]


@click.command(help=__doc__)
@click.argument("datasets", nargs=-1, required=True, type=DatasetSpec(), metavar="DATASET...")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write it there, too.")
def main(datasets: Sequence[Spec], json_path: Path | None) -> None:
    """See the module's words."""
    ways = predictors()
    rows: list[tuple[str | float, ...]] = []
    for spec in datasets:
        least_px = spec.least_px or 0
        for one in opened(spec, load_settings(), None):
            name = f"{one.dataset.name}{f', at least {least_px} px' if least_px else ''}"
            rows += rows_of(name, measured(ways, one.dataset, least_px))
    columns = ("data", "objects", "of", "way", "mean (95 %)", "as it is, less this")
    table = Table("What each step of pointing is worth: IoU, or clicks", columns, tuple(rows))
    click.echo(table.as_markdown())
    if json_path is not None:
        json_path.write_text(as_json([table]), encoding="utf-8")


if __name__ == "__main__":
    main()
