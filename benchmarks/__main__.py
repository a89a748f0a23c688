"""Suites that anyone can run: tables on the screen, JSON in a file.

python -m benchmarks --suite interactive [--size mid] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from benchmarks import interactive, load, memory
from benchmarks.report import Table, as_json, environment
from benchmarks.sizes import SIZES

SUITES: dict[str, Callable[[Sequence[str], str], list[Table]]] = {
    "interactive": interactive.suite,
    "load": load.suite,
    "memory": memory.suite,
}


@click.command(help=__doc__)
@click.option("--suite", "names", type=click.Choice(list(SUITES)), multiple=True, required=True)
@click.option("--size", "sizes", type=click.Choice(SIZES), multiple=True, default=SIZES, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path))
def main(names: tuple[str, ...], sizes: tuple[str, ...], device: str, json_path: Path | None) -> None:
    """See the module's words."""
    click.echo(", ".join(f"{name} {value}" for name, value in environment().items()), err=True)
    tables = [table for name in names for table in SUITES[name](sizes, device)]
    click.echo("\n\n".join(table.as_markdown() for table in tables))
    if json_path is not None:
        json_path.write_text(as_json(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
