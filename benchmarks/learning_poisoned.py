"""A batch of wrong annotations is trained, and must not be promoted; what answers afterwards is what answered before.

python -m benchmarks.learning_poisoned DATA/domain nuclei --good 12 --bad 12 --out FOLDER

First good pictures are accepted and a version comes about; it is promoted by hand where the gate refuses it, so that
there is something to lose. Then a batch comes in with masks moved by half to all of their size, each in a direction
of its own, and with the labels of each picture shuffled. The job runs as the service's worker runs it. At the end
the poisoned version is promoted by hand and rolled back: masks and scores must be the same as before, bit by bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.learning import KEY, SEED, accept, in_a_line, label_config, places_below
from xsam_backend.evaluation.datasets.coco_folder import CocoRecord
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.inference.deployed import Deployed
from xsam_backend.instances import Instances
from xsam_backend.learning.fine_tuning import fine_tune_project
from xsam_backend.learning.places import Places
from xsam_backend.model.predictor import load_predictor
from xsam_backend.model.versions import predictor_with_delta
from xsam_backend.prompts import Category, Point, Prompt, Task

SHOWN = 4
"""So many pictures of val tell whether answers are the same."""


@dataclass(frozen=True)
class Poisoned:
    """A record whose annotator wasn't looking."""

    record: CocoRecord
    seed: int

    @property
    def path(self) -> Path:
        """The picture, as it is."""
        return self.record.path

    def load(self) -> GroundTruth:
        """Masks moved, labels shuffled."""
        truth = self.record.load()
        rng = np.random.default_rng(self.seed)
        masks = np.stack([moved(mask, rng) for mask in truth.masks]) if len(truth.masks) else truth.masks
        names = tuple(truth.names[index] for index in rng.permutation(len(truth.names)))
        return replace(truth, masks=masks, names=names)


def moved(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """By half to all of its size, back and forth as there is room."""
    ys, xs = np.nonzero(mask)
    found = np.zeros_like(mask)
    if not len(ys):
        return found
    shifts = []
    for along, length in ((ys, mask.shape[0]), (xs, mask.shape[1])):
        far = int(rng.uniform(0.5, 1.0) * (np.ptp(along) + 1)) * int(rng.choice([-1, 1]))
        shifts.append(int(np.clip(far, -along.min(), length - 1 - along.max())))
    found[ys + shifts[0], xs + shifts[1]] = True
    return found


def answers(deployed: Deployed, pictures: Sequence[GroundTruth], labels: Sequence[str]) -> list[Instances]:
    """What the project is answered now: pre-labels, and a click in the middle of each picture."""
    deployed.refresh()
    predictor = deployed.predictor_of(str(KEY))
    categories = tuple(Category(label, label) for label in labels)
    found = []
    for truth in pictures:
        height, width = truth.size_hw
        state = predictor.encode(truth.image)
        for prompt in (
            Prompt(Task.GENERIC, categories=categories),
            Prompt(Task.INTERACTIVE, (Point(width // 2, height // 2),)),
        ):
            found.append(predictor.answer(state, prompt).instances)
    return found


def same(ones: Sequence[Instances], others: Sequence[Instances]) -> bool:
    """To the last bit."""
    return all(
        one.labels == other.labels
        and np.array_equal(one.masks, other.masks)
        and np.array_equal(one.scores, other.scores)
        for one, other in zip(ones, others, strict=True)
    )


def job(places: Places, number: int) -> dict[str, Any]:
    """One fine-tuning of what is accepted by now."""
    click.echo(f"{time.strftime('%H:%M:%S')} job {number}", err=True)
    row: Any = SimpleNamespace(id=number, project_key=str(KEY), tries=1)
    folder = places.folder.parent / str(number)
    return dict(fine_tune_project(row, lambda *_: None, replace(places, folder=folder)))


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("only", type=click.Choice(["nuclei", "facade"]))
@click.option("--good", default=12, show_default=True, help="So many right pictures first.")
@click.option("--bad", default=12, show_default=True, help="So many wrong ones then.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Work and numbers go here.")
def main(folder: Path, only: str, good: int, bad: int, out: Path) -> None:
    """See the module's words."""
    train, val = (open_dataset(folder, split=split, only=only) for split in ("train", "val"))
    labels = [category.label for category in train.categories]
    config = label_config(labels)
    order = np.random.default_rng(SEED).permutation(len(train.records))
    records = [train.records[index] for index in order[: good + bad]]
    pictures = [record.load() for record in val.records[:SHOWN]]
    out.mkdir(parents=True, exist_ok=True)
    places = places_below(out)
    base = load_predictor("tiny", "cpu")
    deployed = Deployed(
        base,
        lambda name: predictor_with_delta(base, places.files.delta(name), name),
        places.versions.deployed,
        lambda error, _project: click.echo(f"{error}", err=True),
    )
    accept(places, records[:good], config)
    first = job(places, 1)
    if not first["promoted"]:
        places.versions.deploy(str(KEY), first["version"], "by hand")
    before = answers(deployed, pictures, labels)
    accept(places, [Poisoned(record, number) for number, record in enumerate(records[good:])], config, first=good + 1)
    second = job(places, 2)
    after = answers(deployed, pictures, labels)
    places.versions.deploy(str(KEY), second["version"], "by hand, to be rolled back")
    poisoned = answers(deployed, pictures, labels)
    places.versions.deploy(str(KEY), places.versions.before(str(KEY)), "rolled back")
    back = answers(deployed, pictures, labels)
    found = {
        "good": first,
        "bad": second,
        "unchanged by the refused version": same(before, after),
        "changed by the poisoned one": not same(before, poisoned),
        "identical after the rollback": same(before, back),
    }
    (out / "poisoned.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    for name, value in found.items():
        click.echo(f"{name}: {value}")
    for change in places.versions.all(str(KEY))[0].report["changes"]:
        click.echo(in_a_line(change))


if __name__ == "__main__":
    main()
