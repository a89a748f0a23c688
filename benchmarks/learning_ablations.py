"""What each ingredient of a fine-tuning brings: the same pictures, the same steps, one thing changed.

python -m benchmarks.learning_ablations DATA/domain nuclei --accept 20 --photos DATA/photos --out FOLDER

Measured on pictures of the train split that weren't accepted, on photos that are set aside for tuning, and on the
rehearsal's scenes; never on val: what is decided here must not be decided on what is reported. Only versions are
trained, no folds, and no gate is asked. What was accepted has origins as in a project that was pre-labelled by a
version that had learned from other pictures: an object that it found well counts as accepted, one that it found
roughly as corrected, all others as drawn.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.learning import (
    KEY,
    SEED,
    accept,
    domain_wish,
    in_a_line,
    kept,
    label_config,
    marks,
    measured,
    numbers,
    places_below,
)
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.datasets.records import Dataset
from xsam_backend.evaluation.segments import pairwise_ious
from xsam_backend.learning.candidates import Base, trained
from xsam_backend.learning.places import Places
from xsam_backend.learning.plan import VERSION, fixed_plan
from xsam_backend.learning.recipe import PHOTOGRAPHS, SCENES, SHARES, recipe
from xsam_backend.learning.rehearsal import rehearsal
from xsam_backend.learning.rehearsed_photographs import answered_photographs
from xsam_backend.model.delta import load_delta, save_delta
from xsam_backend.model.predictor import Predictor
from xsam_backend.prompts import Prompt, Task

WELL, ROUGHLY = 0.85, 0.5
"""IoU of a prediction that an annotator leaves as it is, and of one that is worth correcting."""

FIRST = 8
"""The version that pre-labels has learned from so many other pictures."""

TUNED_ON = 16
"""So many pictures that weren't accepted are measured."""

ASKED_PHOTOS, ASKED_SCENES = 30, 40
EVERY = 10
"""Every so-manieth photo of train was left out when the shipped weights were trained."""


@dataclass(frozen=True)
class Variant:
    """One change. ``recipe`` are other values of its keys; ``shares`` of the parts that pictures come from; ``way``:
    the share of it (None: the recipe's); ``weighs`` whether corrected objects are asked about more often."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)
    way: float | None = None
    weighs: bool = True


def without(*parts: str) -> dict[str, float]:
    """The recipe's shares, which need not add up to 1, of all other parts."""
    return {part: share for part, share in SHARES.items() if part not in parts}


HEADS = ("connector", "segmentor", "llm_projector")
VARIANTS = {
    "as it is": Variant(),
    "no replay": Variant(shares=without(SCENES, PHOTOGRAPHS)),
    "no photographs": Variant(shares=without(PHOTOGRAPHS)),
    "no scenes": Variant(shares=without(SCENES)),
    "all of it in full": Variant({"lora": None}),
    "decoder only, LoRA": Variant({"trains": HEADS, "lora": {"parts": ["segmentor"], "rank": 16, "alpha": 32}}),
    "decoder only, in full": Variant({"trains": HEADS, "lora": None}),
    "no weights of corrections": Variant(weighs=False),
    "no averaging of weights": Variant({"ema": 0.0}),
    "all the way": Variant(way=1.0),
}


def with_origins(snapshot: Path, pre_labels: Predictor, dataset: Dataset, weighs: bool, path: Path) -> Path:
    """The snapshot with origins by what a model finds; the new file."""
    content = json.loads(snapshot.read_text(encoding="utf-8"))
    for sample, record in zip(content["samples"], dataset.records, strict=True):
        truth = record.load()
        state = pre_labels.encode(truth.image)
        found = pre_labels.answer(state, Prompt(Task.GENERIC, categories=tuple(dataset.categories)))
        ious = pairwise_ious(truth.masks, found.instances.masks)
        best = ious.max(1) if ious.shape[1] else np.zeros(len(truth.masks))
        for region, iou in zip(sample["origins"], best, strict=True):
            sample["origins"][region] = "accepted" if iou > WELL else "corrected" if iou > ROUGHLY else "drawn"
    if not weighs:
        content["emphasis"] = dict.fromkeys(content["emphasis"], 1.0)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def first_version(base: Base, places: Places) -> Predictor:
    """What pre-labels the pictures."""
    path = places.folder / "first.safetensors"
    if not path.is_file():
        plan = fixed_plan(str(KEY), places, base.version)
        snapshot = plan.learned(VERSION)
        run = places.folder / "run"
        config = recipe(
            run,
            snapshot,
            str(base.folder),
            photographs=answered_photographs(base.predictor_of_base, places.folder),
            steps=plan.steps,
            parameters=base.parameters,
            seed=SEED,
        )
        save_delta(trained(base, config, snapshot), path)
    return base.predictor(load_delta(path), "first")


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("only", type=click.Choice(["nuclei", "facade"]))
@click.option("--accept", "count", default=20, show_default=True, help="So many pictures.")
@click.option("--variants", default="+".join(VARIANTS), show_default=True, help="Which, with + between.")
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Ask about these, too.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Work and numbers go here.")
def main(folder: Path, only: str, count: int, variants: str, photos: Path | None, out: Path) -> None:
    """See the module's words."""
    train = open_dataset(folder, split="train", only=only)
    order = np.random.default_rng(SEED).permutation(len(train.records))
    wish = domain_wish(replace(train, records=tuple(train.records[index] for index in order[-TUNED_ON:])))
    config_of_labels = label_config([category.label for category in train.categories])
    places, first_places = places_below(out / "project"), places_below(out / "first")
    for some, chosen in ((places, order[:count]), (first_places, order[count : count + FIRST])):
        if not (some.folder / f"learned-{VERSION}.json").is_file():
            accept(some, [train.records[index] for index in chosen], config_of_labels)
    exams = [rehearsal(ASKED_SCENES)]
    if photos is not None:
        set_aside = open_dataset(photos, split="train")
        exams.append(replace(set_aside, records=set_aside.records[::EVERY][:ASKED_PHOTOS]))
    base = Base.load(places)
    first = first_version(base, first_places)
    before = marks(base.predictor_of_base, exams)
    plan = fixed_plan(str(KEY), places, base.version)
    accepted = open_dataset(plan.learned(VERSION))
    results = out / f"{only}-ablations.json"
    table: dict[str, Any] = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    table.setdefault("base", {"measures": numbers(measured(base.predictor_of_base, [wish])), "elsewhere": []})
    for name in [name for name in variants.split("+") if name not in table]:
        variant = VARIANTS[name]
        click.echo(f"{time.strftime('%H:%M:%S')} {name}", err=True)
        run = out / name.replace(",", "").replace(" ", "-")
        # Beside the plan's own: where pictures are is told from there.
        path = places.folder / f"learned-{run.name}.json"
        snapshot = with_origins(plan.learned(VERSION), first, accepted, variant.weighs, path)
        config = recipe(
            run,
            snapshot,
            str(base.folder),
            photographs=answered_photographs(base.predictor_of_base, places.folder),
            steps=plan.steps,
            parameters=base.parameters,
            seed=SEED,
            **variant.recipe,
        )
        parts = [part.model_copy(update={"share": variant.shares.get(part.name, 0)}) for part in config.data]
        config = config.model_copy(update={"data": tuple(part for part in parts if part.share)})
        begun = time.monotonic()
        delta = trained(base, config, snapshot, share=variant.way)
        seconds = round(time.monotonic() - begun, 1)
        save_delta(delta, run / "delta.safetensors")
        tuned = base.predictor(delta, name)
        table[name] = {
            "seconds": seconds,
            "numbers": delta.numbers,
            "measures": numbers(measured(tuned, [wish])),
            "elsewhere": [asdict(change) for change in kept(before, marks(tuned, exams))],
        }
        results.write_text(json.dumps(table, indent=1), encoding="utf-8")
        click.echo(f"{name}: {seconds} s, {delta.numbers} numbers")
        for key, (value, *_) in table[name]["measures"].items():
            click.echo(f"  {key:<70} {table['base']['measures'][key][0]:.3f} -> {value:.3f}")
        for change in table[name]["elsewhere"]:
            click.echo(f"  {in_a_line(change)}")


if __name__ == "__main__":
    main()
