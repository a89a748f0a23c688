"""The learning loop in a real Label Studio: pictures are accepted through its API, the button is pressed, and the
version that comes about is measured beside the base model.

python -m benchmarks.learning_live DATA/domain nuclei --accept 20 --label-studio BIN --photos DATA/photos --out FOLDER

Label Studio and `serve` are started for it, as the demo starts them, in folders below --out; the worker, the gate and
the measures are those of `benchmarks.learning`. What is in --out already isn't done again: an interrupted run goes
on, and the base model is measured once for several.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import requests

from benchmarks.learning import SEED, domain_wish, held_out, in_a_line, kept, label_config, marks, measured, numbers
from benchmarks.servers import Running, label_studio_option, running
from xsam_backend.demo.processes import wait_for
from xsam_backend.evaluation.datasets.coco_folder import CocoRecord
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.results import write_regions
from xsam_backend.learning.exam import Marks
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.model.predictor import load_predictor
from xsam_backend.model.versions import predictor_with_delta

JOB_LIMIT_S = 3 * 3600.0
LOOKED_EVERY_S = 3.0
"""Asking more often would take the trainer's time."""


def accept(servers: Running, records: Sequence[CocoRecord], config: str) -> int:
    """A project with these pictures, each with all of its objects as an annotator submits them; the id of its
    connection to our service."""
    project = int(servers.client.create_project("learning", config, "Made by benchmarks.learning_live.")["id"])
    connection = int(servers.client.connect_ml_backend(project, servers.backend, "X-SAM")["id"])
    control = LabelConfig.parse(config).control("poly")
    for record in records:
        truth = record.load()
        kind = "image/png" if record.path.suffix == ".png" else "image/jpeg"
        address = servers.client.upload(project, record.path.name, record.path.read_bytes(), kind)
        task = servers.client.create_task(project, {"image": address})["id"]
        regions = write_regions(
            Instances.of(truth.masks, np.ones(len(truth.names), np.float32), truth.names), control
        )
        servers.label_studio("POST", f"/api/tasks/{task}/annotations/", {"result": list(regions)})
    return connection


def trained(servers: Running, connection: int, accepted: int) -> dict[str, Any]:
    """Press the button once everything accepted has arrived; the job when it has ended."""

    def has_arrived() -> bool | None:
        page = requests.get(f"{servers.backend}/", timeout=30, headers={"Accept": "text/html"}).text
        return True if f"{accepted} accepted" in page else None

    def ended() -> dict[str, Any] | None:
        time.sleep(LOOKED_EVERY_S)
        jobs = [job for job in servers.ours("/jobs")["jobs"] if job["state"] in ("done", "failed", "cancelled")]
        return jobs[0] if jobs else None

    wait_for(has_arrived, servers.children, limit_s=300, what="collecting")
    servers.label_studio("POST", f"/api/ml/{connection}/train", {})
    return wait_for(ended, servers.children, limit_s=JOB_LIMIT_S, what="the job")


def learned_live(folder: Path, only: str, count: int, script: Path, place: Path) -> dict[str, Any]:
    """The loop itself: the job, the seconds from the button on, what Label Studio shows then, where versions are."""
    train = open_dataset(folder, split="train", only=only)
    order = np.random.default_rng(SEED).permutation(len(train.records))[:count]
    config = label_config([category.label for category in train.categories])
    with running(place, script) as servers:
        connection = accept(servers, [train.records[index] for index in order], config)
        click.echo(f"{count} pictures accepted", err=True)
        begun = time.monotonic()
        job = trained(servers, connection, count)
        seconds = time.monotonic() - begun
        if job["state"] != "done":
            raise click.ClickException(f"the job ended as {job}")
        version = str(job["result"]["version"])

        def shown() -> str | None:
            seen = servers.label_studio("GET", f"/api/ml/{connection}", None)["model_version"]
            return str(seen) if seen == version or not job["result"]["promoted"] else None

        seen = wait_for(shown, servers.children, limit_s=60, what="the version in Label Studio")
    click.echo(f"{version} after {seconds:.0f} s; Label Studio shows {seen}; {job['result']}", err=True)
    return {"job": job, "seconds": seconds, "shown": seen, "versions": str(servers.data_dir / "versions")}


def once(path: Path, make: Callable[[], Any]) -> Any:
    """What the file has; made and written if it isn't there."""
    if not path.is_file():
        path.write_text(json.dumps(make(), indent=1), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def as_json(of_exams: Mapping[str, Marks]) -> dict[str, Any]:
    """Marks by the exam's name."""
    return {name: one.as_json() for name, one in of_exams.items()}


def from_json(read: Mapping[str, Any]) -> dict[str, Marks]:
    """What ``as_json`` gave."""
    return {name: Marks.from_json(one) for name, one in read.items()}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("only", type=click.Choice(["nuclei", "facade"]))
@click.option("--accept", "count", default=20, show_default=True, help="So many pictures.")
@label_studio_option
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Ask about these, too.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Work and numbers go here.")
def main(folder: Path, only: str, count: int, script: Path, photos: Path | None, out: Path) -> None:
    """See the module's words."""
    out.mkdir(parents=True, exist_ok=True)
    name = f"{only}-{count}"
    place = out.absolute() / f"{name}-servers"
    learned = once(out / f"{name}-job.json", lambda: learned_live(folder, only, count, script.absolute(), place))
    version = str(learned["job"]["result"]["version"])
    base = load_predictor("tiny", "cpu")
    tuned = predictor_with_delta(base, VersionFiles(Path(learned["versions"])).delta(version), version)
    wish = domain_wish(open_dataset(folder, split="val", only=only))
    before = once(out / f"{base.model_version}-{only}.json", lambda: numbers(measured(base, [wish])))
    after = once(out / f"{name}-version.json", lambda: numbers(measured(tuned, [wish])))
    for key, (value, *_) in before.items():
        click.echo(f"{key:<70} {value:.3f} -> {after[key][0]:.3f}")
    elsewhere = []
    if photos is not None:
        others = held_out(photos)
        known = once(out / f"{base.model_version}-elsewhere.json", lambda: as_json(marks(base, others)))
        now = once(out / f"{name}-elsewhere.json", lambda: as_json(marks(tuned, others)))
        elsewhere = [asdict(change) for change in kept(from_json(known), from_json(now))]
    found = {**learned, "base": before, "version": after, "elsewhere": elsewhere}
    (out / f"{name}-live.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    for change in elsewhere:
        click.echo(in_a_line(change))


if __name__ == "__main__":
    main()
