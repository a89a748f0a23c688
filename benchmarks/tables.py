"""The tables of an evaluation in Markdown, for ``RESULTS.md`` and model cards; without those of single classes.

xsam-backend evaluate DATA... --json results.json
python -m benchmarks.tables results.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

FORMAT, VERSION = "xsam-backend evaluation", 1
LEFT_OUT = ("per_label",)


def lines(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Markdown, line by line: a section per data set, a part per task, a table each."""
    draws = evaluation["bootstrap"]
    yield (
        f"{evaluation['model_version']}, {evaluation['queries']} queries, seed {evaluation['seed']}; in brackets "
        f"what {draws['confidence']:.0%} of {draws['rounds']} bootstrap draws of pictures gave."
    )
    for dataset in evaluation["datasets"]:
        split = f", split {dataset['split']}" if dataset["split"] else ""
        yield from ("", f"### {dataset['name']}{split}", "")
        facts = [f"{dataset['reached']} pictures", *dataset["notes"], f"{dataset['seconds']:.0f} s"]
        yield f"{'; '.join(facts)}."
        for task in dataset["tasks"].values():
            yield from ("", f"**{task['title']}.** {_conditions(task['conditions'])}")
            for key, table in task["tables"].items():
                if key not in LEFT_OUT:
                    yield from ("", *_table(table))


def _conditions(conditions: Mapping[str, Any]) -> str:
    known = {name: value for name, value in conditions.items() if value is not None}
    said = [f"{name}: {_number(value) if isinstance(value, float) else value}" for name, value in known.items()]
    return f"{'; '.join(said)}." if said else ""


def _table(table: Mapping[str, Any]) -> Iterator[str]:
    columns = table["columns"]
    yield f"| {table['title']} | {' | '.join([table['items'], *(column['title'] for column in columns)])} |"
    yield f"| --- |{' --- |' * (len(columns) + 1)}"
    for row in table["rows"]:
        cells = [_cell(row["values"].get(column["key"])) for column in columns]
        yield f"| {row['title']} | {' | '.join([str(row['items']), *cells])} |"


def _cell(measured: Mapping[str, float | None] | None) -> str:
    if measured is None or measured["value"] is None:
        return ""
    if measured["low"] is None or measured["high"] is None:
        return _number(measured["value"])
    return f"{_number(measured['value'])} ({_number(measured['low'])}–{_number(measured['high'])})"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


@click.command(help=__doc__)
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(results: Path) -> None:
    """See the module's words."""
    evaluation = json.loads(results.read_text(encoding="utf-8"))
    if evaluation.get("format") != FORMAT or evaluation.get("format_version") != VERSION:
        raise click.ClickException(f"{results}: expected what evaluate --json writes, version {VERSION}")
    for line in lines(evaluation):
        click.echo(line)


if __name__ == "__main__":
    main()
