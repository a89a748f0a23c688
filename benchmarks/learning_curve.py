"""How quality grows with the number of accepted pictures, as a picture.

python -m benchmarks.learning_curve DATA/domain --out FOLDER --picture docs/learning_curve.png

For nuclei and facades, 0, 5, 10, 20, 40 and 80 pictures of the train split are accepted, each count starting anew
from the base model, and the version that a fine-tuning makes of them is measured on the val split. Versions are
trained as the service's worker trains them; folds and gate, which only decide whether one is promoted, are left out.
What is in FOLDER already isn't done again, so that an interrupted run goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
import numpy as np
from matplotlib import pyplot

from benchmarks.learning import KEY, SEED, accept, domain_wish, label_config, measured, numbers, places_below
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.datasets.records import Dataset
from xsam_backend.evaluation.running import Wish
from xsam_backend.evaluation.tasks.run import Options
from xsam_backend.learning.candidates import Base, trained
from xsam_backend.learning.plan import VERSION, fixed_plan
from xsam_backend.learning.recipe import recipe
from xsam_backend.learning.rehearsed_photographs import answered_photographs
from xsam_backend.model.delta import load_delta, save_delta

DOMAINS = ("nuclei", "facade")
COUNTS = "0+5+10+20+40+80"
CORRECTED = 12
"""So many pictures of val are corrected click by click: that takes long."""

AXES = (
    ("all like one (VGD), AP50", "vgd, visual, box, ap50"),
    ("pre-labels, AP50", "generic, average_precision, all, ap50"),
    ("one click, mean IoU", "interactive, interactive, point, iou"),
    ("clicks to 85 %", "correction, clicks, clicks, noc85"),
)
"""Title and the measure, see ``measure``."""


def wishes(domain: Dataset) -> list[Wish]:
    """What is measured: as ``benchmarks.learning``, and correction on some pictures."""
    some = replace(domain, records=domain.records[:CORRECTED], name=f"some {domain.name}")
    return [domain_wish(domain), Wish(some, ("correction",), Options(controls=False, seed=SEED))]


def version(folder: Path, records: Sequence[Any], labels: Sequence[str]) -> tuple[Any, float]:
    """A predictor that has learned from these pictures, and the seconds that it took."""
    places = places_below(folder)
    base = Base.load(places)
    kept, took = folder / "version.safetensors", folder / "seconds.txt"
    if not kept.is_file():
        if not (folder / "accepted").is_file():
            accept(places, records, label_config(labels))
            (folder / "accepted").touch()
        plan = fixed_plan(str(KEY), places, base.version)
        snapshot = plan.learned(VERSION)
        run = folder / "run"
        config = recipe(
            run,
            snapshot,
            str(base.folder),
            photographs=answered_photographs(base.predictor_of_base, folder),
            steps=plan.steps,
            parameters=base.parameters,
            seed=SEED,
        )
        begun = time.monotonic()
        save_delta(trained(base, config, snapshot), kept)
        took.write_text(str(round(time.monotonic() - begun, 1)), encoding="utf-8")
    return base.predictor(load_delta(kept), "version"), float(took.read_text(encoding="utf-8"))


def measure(of_count: Mapping[str, Any], key: str) -> tuple[float, float, float] | None:
    """Value, low and high of the measure whose name ends so."""
    for name, (value, low, high, *_) in of_count["measures"].items():
        if name.split(": ", 1)[1] == key:
            return value, low, high
    return None


def draw(tables: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """One panel per measure, one line per domain, with 95 % intervals.

    Args:
        tables: domain -> count of pictures -> what was measured.
    """
    mpl.use("Agg")
    figure, panels = pyplot.subplots(1, len(AXES), figsize=(4 * len(AXES), 3.4), layout="constrained")
    for panel, (title, key) in zip(panels, AXES, strict=True):
        for domain, table in tables.items():
            found = {int(count): measure(of_count, key) for count, of_count in table.items()}
            known = {count: values for count, values in sorted(found.items()) if values is not None}
            value, low, high = np.array(list(known.values())).T
            places = np.arange(len(known))
            (line,) = panel.plot(places, value, marker="o", label=domain)
            panel.fill_between(places, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
            panel.set_xticks(places, [str(count) for count in known])
        panel.set(title=title, xlabel="accepted pictures")
        panel.set_ylim(0, None)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--domains", default="+".join(DOMAINS), show_default=True, help="Which, with + between.")
@click.option("--accept", "counts", default=COUNTS, show_default=True, help="So many pictures, with + between.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Work and numbers go here.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the curves here (PNG).")
def main(folder: Path, domains: str, counts: str, out: Path, picture: Path | None) -> None:
    """See the module's words."""
    out.mkdir(parents=True, exist_ok=True)
    tables: dict[str, dict[str, Any]] = {}
    for domain in domains.split("+"):
        train, val = (open_dataset(folder, split=split, only=domain) for split in ("train", "val"))
        labels = [category.label for category in train.categories]
        order = np.random.default_rng(SEED).permutation(len(train.records))
        results = out / f"{domain}-curve.json"
        table = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
        tables[domain] = table
        for count in [one for one in counts.split("+") if one not in table]:
            click.echo(f"{time.strftime('%H:%M:%S')} {domain}, {count} accepted", err=True)
            chosen = [train.records[index] for index in order[: int(count)]]
            if chosen:
                predictor, seconds = version(out / f"{domain}-{count}", chosen, labels)
            else:
                predictor, seconds = Base.load(places_below(out / f"{domain}-0")).predictor_of_base, 0.0
            table[count] = {"seconds": seconds, "measures": numbers(measured(predictor, wishes(val)))}
            results.write_text(json.dumps(table, indent=1), encoding="utf-8")
        click.echo(f"{domain}: seconds of training { ({count: one['seconds'] for count, one in table.items()}) }")
        for title, key in AXES:
            values = {count: measure(one, key) for count, one in table.items()}
            click.echo(f"  {title:<26}" + "  ".join(f"{n}: {v[0]:.3f}" for n, v in values.items() if v))
    if picture is not None:
        draw(tables, picture)


if __name__ == "__main__":
    main()
