"""How much the shipped model learns from so many accepted pictures of a domain that it has never seen.

python -m benchmarks.learning DATA/domain nuclei --accept 20 --photos DATA/photos --out FOLDER
python -m benchmarks.learning DATA/domain facade --accept 0+5+10+20+40+80 --out FOLDER

Pictures of the train split are accepted as annotators would, outlines as polygons; then one fine-tuning runs as the
service's worker runs it (folds, gate and all), and the version is measured on the val split beside the base model,
by `evaluate`'s own measures. Each count starts anew from the base model. What else the version could lose is asked as
the gate asks, picture by picture beside the base: photos of the val split, and scenes that are held out.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import click
import numpy as np
from PIL import Image

from xsam_backend.evaluation.datasets.coco_folder import CocoRecord
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.datasets.records import Dataset
from xsam_backend.evaluation.results import Evaluation
from xsam_backend.evaluation.running import Watching, Wish, evaluate
from xsam_backend.evaluation.tasks.run import Options
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.results import write_regions
from xsam_backend.learning.exam import Marks, sit_exam
from xsam_backend.learning.fine_tuning import fine_tune_project
from xsam_backend.learning.gate import Change, paired_changes
from xsam_backend.learning.places import Places
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.model.versions import predictor_with_delta
from xsam_backend.store.annotations import Annotations, KeptAnnotation
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.projects import ProjectKey, Projects
from xsam_backend.store.tasks import TaskPicture, Tasks
from xsam_backend.store.versions import Versions

KEY = ProjectKey("local", 1, 1)
SEED = 0
PHOTOS, SCENES = 150, 60
"""So many of the other pictures are asked about."""


def label_config(names: Sequence[str]) -> str:
    """Polygons with these labels."""
    labels = "".join(f'<Label value="{name}"/>' for name in names)
    polygons = f'<PolygonLabels name="poly" toName="image" smart="false">{labels}</PolygonLabels>'
    return f'<View><Image name="image" value="$image"/>{polygons}</View>'


class Pictured(Protocol):
    """A record with its picture's file."""

    @property
    def path(self) -> Path:
        """The file."""

    def load(self) -> GroundTruth:
        """What is on it."""


@dataclass(frozen=True)
class Drawn:
    """A truth of ours and the file that its picture was written to."""

    path: Path
    truth: GroundTruth

    @classmethod
    def written(cls, path: Path, truth: GroundTruth) -> Drawn:
        """As PNG."""
        Image.fromarray(truth.image).save(path)
        return cls(path, truth)

    def load(self) -> GroundTruth:
        """The truth."""
        return self.truth


def accept(places: Places, records: Sequence[Pictured], config: str, first: int = 1) -> None:
    """Keep these pictures with all of their objects as if an annotator had drawn them; tasks count from ``first``."""
    places.projects.remember(KEY, "benchmark", config)
    control = LabelConfig.parse(config).control("poly")
    files = PictureFiles(places.pictures)
    for number, record in enumerate(records, first):
        truth = record.load()
        instances = Instances.of(truth.masks, np.ones(len(truth.names), np.float32), truth.names)
        regions = write_regions(instances, control)
        picture = TaskPicture("image", None, None, files.put(record.path.read_bytes()), truth.size_hw)
        places.tasks.know(str(KEY), number, [picture])
        at = datetime.now(timezone.utc)
        places.annotations.keep([KeptAnnotation(str(KEY), number, number, "accepted", at, 1, False, tuple(regions))])


def places_below(folder: Path) -> Places:
    """A store and folders of their own for one job, below the folder."""
    engine = open_database(database_url("store", folder), "store")
    return Places(
        projects=Projects(engine),
        tasks=Tasks(engine),
        annotations=Annotations(engine),
        versions=Versions(engine),
        files=VersionFiles(folder / "versions"),
        model="tiny",
        models=folder / "models",
        device="cpu",
        folder=folder / "jobs" / "1",
        pictures=folder / "pictures",
    )


def fine_tuned(folder: Path, records: Sequence[CocoRecord], config: str) -> tuple[Places, dict[str, Any]]:
    """One job over these pictures; where its version is, and what came of it."""
    found = places_below(folder)
    accept(found, records, config)
    stage = ""

    def progress(name: str, step: int = 0, steps: int = 0) -> None:
        nonlocal stage
        if name != stage:
            stage = name
            click.echo(f"  {time.strftime('%H:%M:%S')} {name}", err=True)

    started = time.monotonic()
    job: Any = SimpleNamespace(id=1, project_key=str(KEY), tries=1)
    result = dict(fine_tune_project(job, progress, found))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result |= {"seconds": round(time.monotonic() - started, 1), "peak_mb": round(peak_mb)}
    return found, result


def measured(predictor: Predictor, wishes: Sequence[Wish]) -> Evaluation:
    """By ``evaluate``'s measures, quietly."""
    return evaluate(predictor, "tiny", wishes, Watching())


def numbers(evaluation: Evaluation) -> dict[str, Any]:
    """Data set, task, table, row, column -> value and interval, and over how many."""
    found: dict[str, Any] = {}
    for dataset in evaluation.datasets:
        for task, result in dataset.tasks.items():
            for table in result.tables:
                for row in table.rows:
                    for column, estimate in row.values.items():
                        key = f"{dataset.name} {dataset.split}: {task}, {table.key}, {row.key}, {column}"
                        found[key] = [estimate.value, estimate.low, estimate.high, row.items]
    return found


def domain_wish(domain: Dataset, correction: bool = False) -> Wish:
    """What is measured on the domain: dense pictures, the object of median area as exemplar."""
    dense = Options(
        max_detections=500, prompts=("point", "box"), exemplar="median", controls=False, seed=SEED, objects=6
    )
    return Wish(domain, ("interactive", "vgd", "generic", *(("correction",) if correction else ())), dense)


def held_out(photos: Path) -> tuple[Dataset, Dataset]:
    """Other pictures, that no training has seen."""
    return open_dataset(photos, split="val", limit=PHOTOS), open_dataset("scenes", limit=SCENES)


def marks(predictor: Predictor, exams: Sequence[Dataset]) -> dict[str, Marks]:
    """By the exam's name."""
    return {exam.name: sit_exam(predictor, exam.records, exam.categories) for exam in exams}


def kept(base: Mapping[str, Marks], tuned: Mapping[str, Marks]) -> list[Change]:
    """What the version has lost or won elsewhere, with paired intervals."""
    return [change for name, before in base.items() for change in paired_changes(name, before, tuned[name])]


def in_a_line(change: Mapping[str, Any]) -> str:
    """A change for people."""
    found = change["change"]
    return (
        f"{change['where']}, {change['question']}: {change['deployed']:.3f} -> {change['candidate']:.3f} "
        f"({found['value']:+.3f}, {found['low']:+.3f} to {found['high']:+.3f}, {change['pictures']} pictures)"
    )


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("only", type=click.Choice(["nuclei", "facade"]))
@click.option("--accept", "counts", default="20", show_default=True, help="So many pictures; several with + between.")
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Ask about these, too.")
@click.option("--correction", is_flag=True, help="Also clicks to 85 %: takes long.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Work and numbers go here.")
def main(folder: Path, only: str, counts: str, photos: Path | None, correction: bool, out: Path) -> None:
    """See the module's words."""
    train = open_dataset(folder, split="train", only=only)
    order = np.random.default_rng(SEED).permutation(len(train.records))
    config = label_config([category.label for category in train.categories])
    wish = domain_wish(open_dataset(folder, split="val", only=only), correction)
    out.mkdir(parents=True, exist_ok=True)
    base = load_predictor("tiny", "cpu")
    others = held_out(photos) if photos else ()
    before = marks(base, others)
    table: dict[str, Any] = {}
    for count in [int(one) for one in counts.split("+")]:
        click.echo(f"{only}, {count} accepted", err=True)
        predictor, result = base, dict[str, Any]()
        if count:
            chosen = [train.records[index] for index in order[:count]]
            of_job, result = fine_tuned(out / f"{only}-{count}", chosen, config)
            predictor = predictor_with_delta(base, of_job.files.delta(result["version"]), result["version"])
        elsewhere = kept(before, marks(predictor, others)) if count else []
        table[str(count)] = {
            "job": result,
            "measures": numbers(measured(predictor, [wish])),
            "elsewhere": [asdict(change) for change in elsewhere],
        }
        (out / f"{only}.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    for key in table[next(iter(table))]["measures"]:
        values = "  ".join(f"{count}: {one['measures'][key][0]:.3f}" for count, one in table.items())
        click.echo(f"{key:<70} {values}")
    for count, one in table.items():
        if one["job"]:
            click.echo(f"{count} accepted: {one['job']}")
        for change in one["elsewhere"]:
            click.echo(in_a_line(change))


if __name__ == "__main__":
    main()
