"""How a mask gets better with each click, from the numbers of evaluations, as a picture.

python -m benchmarks.click_curves photos.json nuclei.json facade.json --output docs/clicks.png
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from benchmarks.curves import draw
from benchmarks.report import Table


def mean_ious(results: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Mean IoU after 1, 2, ... clicks, by data set, of those that were corrected by clicks."""
    found = {}
    for dataset in (one for result in results for one in result["datasets"]):
        if (correction := dataset["tasks"].get("correction")) is not None:
            (series,) = correction["curves"]["clicks"]["series"]
            found[f"{dataset['name']}, {dataset['split']}"] = [value for _, value in series["points"]]
    return found


@click.command(help=__doc__)
@click.argument("files", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(files: Sequence[Path], output: Path) -> None:
    """See the module's words."""
    curves = mean_ious([json.loads(path.read_text(encoding="utf-8")) for path in files])
    most = min(map(len, curves.values()))
    rows = tuple((number + 1, *(values[number] for values in curves.values())) for number in range(most))
    draw([Table("Mean IoU after so many clicks", ("clicks", *curves), rows)], output)
    for name, values in curves.items():
        by_click = enumerate(pairwise(values), start=2)
        falls = [f"{after - before:+.3f} at {number}" for number, (before, after) in by_click if after < before]
        click.echo(f"{name}: {', '.join(f'{value:.3f}' for value in values)}; falls: {', '.join(falls) or 'none'}")


if __name__ == "__main__":
    main()
