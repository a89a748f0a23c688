"""Suites that anyone can run: tables on the screen, JSON in a file.

python -m benchmarks --suite interactive [--size mid] [--json FILE]
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from benchmarks.report import as_json, environment
from benchmarks.sizes import SIZES

SUITES = (
    *("interactive", "batch", "convert", "load", "memory", "growth", "startup"),
    *("restart", "devices", "compiled"),
)
"""Modules beside this one, imported where they are asked for: "convert" and curves need requirements-dev.txt."""


@click.command(help=__doc__)
@click.option("--suite", "names", type=click.Choice(SUITES), multiple=True, required=True)
@click.option("--size", "sizes", type=click.Choice(SIZES), multiple=True, default=SIZES, help="Of models.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write them there, too.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw them as curves (PNG).")
def main(
    names: tuple[str, ...], sizes: tuple[str, ...], device: str, json_path: Path | None, picture: Path | None
) -> None:
    """See the module's words."""
    click.echo(", ".join(f"{name} {value}" for name, value in environment().items()), err=True)
    tables = []
    for name in names:
        of_suite = import_module(f"benchmarks.{name}").suite(sizes, device)
        click.echo("\n\n".join(table.as_markdown() for table in of_suite) + "\n")
        tables += of_suite
    if json_path is not None:
        json_path.write_text(as_json(tables), encoding="utf-8")
    if picture is not None:
        import_module("benchmarks.curves").draw(tables, picture)


if __name__ == "__main__":
    main()
