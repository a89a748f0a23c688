"""What is found by example in pictures that nobody has touched: with exemplars of a few other, labelled pictures.

python -m benchmarks.exemplars_across DATA/domain nuclei [--delta FILE] [--pictures 5] [--objects 1] [--after 20]

Of the train split's pictures (in the order in which the learning benchmarks accept them) the first few are taken as
accepted: of each label some objects of each of them are shown to the model. Then it looks for all that is like them
in each picture of the val split, or in the train pictures that nothing was learned from or shown of. Only labels are
asked for that are known to be there. Beside it: exemplars of the picture itself (the object of median area, as
`evaluate` measures it), and the labels' names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks.learning import SEED
from xsam_backend.evaluation.average_precision import AveragePrecision
from xsam_backend.evaluation.bootstrap import bootstraps
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.exemplars import exemplars
from xsam_backend.evaluation.simulated_prompts import exact_box
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.learning.examples import SHARES_OF_SIZE
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.model.versions import predictor_with_delta
from xsam_backend.prompts import Category, Exemplar, MaskRegion, Prompt, Task

MOST = 500
"""Detections a picture, for there are hundreds of nuclei in some."""


def shown(predictor: Predictor, truth: GroundTruth, shares: Sequence[float]) -> list[Exemplar]:
    """A few objects of each label of a picture, at these places in the order of their sizes (0..1)."""
    state = predictor.encode(truth.image, keeps_looks=True)
    found = []
    for label in dict.fromkeys(truth.names):
        masks = sorted(truth.masks[[name == label for name in truth.names]], key=np.sum)
        places = dict.fromkeys(round(share * (len(masks) - 1)) for share in shares)
        found += [predictor.exemplar(state, MaskRegion(masks[place], True), label) for place in places]
    return found


def prompts(truth: GroundTruth, across: list[Exemplar], seed: int) -> Mapping[str, Prompt]:
    """The three ways to ask, each about the labels that are there and were shown."""
    there = [i for i in exemplars(truth, seed, "median") if truth.names[i] in {one.label for one in across}]
    names = tuple(Category(truth.names[i], truth.names[i]) for i in there)
    labels = {one.label for one in names}
    return {
        "exemplars of other pictures": Prompt(
            Task.VGD, exemplars=tuple(one for one in across if one.label in labels), categories=names
        ),
        "an exemplar of the picture": Prompt(Task.VGD, tuple(exact_box(truth.masks[i]) for i in there), names),
        "by name": Prompt(Task.GENERIC, categories=names),
    }


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("domain")
@click.option("--delta", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A version's changes.")
@click.option("--pictures", default=5, show_default=True, help="So many labelled pictures.")
@click.option(
    "--objects",
    type=click.Choice(["1", str(len(SHARES_OF_SIZE))]),
    default=str(len(SHARES_OF_SIZE)),
    show_default=True,
    help="Of each label in each of them: the one of median size, or those that the service chooses.",
)
@click.option("--after", type=click.IntRange(1), help="In place of val: the train pictures after the first so many.")
def main(folder: Path, domain: str, delta: Path | None, pictures: int, objects: str, after: int | None) -> None:
    """See the module's words."""
    predictor = load_predictor("tiny")
    if delta is not None:
        predictor = predictor_with_delta(predictor, delta, "version")
    train, val = (open_dataset(folder, split=split, only=domain) for split in ("train", "val"))
    order = np.random.default_rng(SEED).permutation(len(train.records))
    shares = SHARES_OF_SIZE if objects != "1" else (0.5,)
    across = [one for index in order[:pictures] for one in shown(predictor, train.records[index].load(), shares)]
    records = val.records if after is None else [train.records[index] for index in order[max(after, pictures) :]]
    measures: dict[str, AveragePrecision] = {}
    for record in records:
        truth = record.load()
        labels = {one.label for one in across}
        there = [i for i, name in enumerate(truth.names) if name in labels]
        if not there:
            continue
        state = predictor.encode(truth.image, keeps_looks=True)
        for way, prompt in prompts(truth, across, SEED).items():
            found = predictor.candidates(state, prompt).instances()
            measure = measures.setdefault(way, AveragePrecision(MOST))
            measure.add(found, truth.masks[there], [truth.names[i] for i in there], truth.is_crowd[there])
    click.echo(f"{domain}, {len(records)} pictures, {len(across)} exemplars of {pictures} others; AP50 (95 %)")
    for way, measure in measures.items():
        _, of_half, _ = bootstraps(measure.summary, len(measure), 3, seed=SEED)
        click.echo(f"{way:<30}{of_half.value:.3f} ({of_half.low:.3f} to {of_half.high:.3f})")


if __name__ == "__main__":
    main()
