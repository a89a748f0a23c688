"""An evaluation as tables on a screen."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as ScreenTable
from rich.text import Text

from xsam_backend.evaluation.confusion import NOTHING, Confusion
from xsam_backend.evaluation.report.numbers import (
    condition_text,
    counted,
    interval_text,
    pictures_text,
    value_text,
)
from xsam_backend.evaluation.results import DatasetResult, Evaluation, Table, TaskResult

MOST_MISTAKES = 8
LEAST_WIDTH = 118
"""Characters: where output goes to a file or a pipe there is no terminal to fit in."""


class Screen:
    """Prints data sets as they are measured, under one line about the model."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console()
        self._console = console if console.is_terminal else Console(file=console.file, width=LEAST_WIDTH)
        self._shown = 0

    def show(self, evaluation: Evaluation) -> None:
        """Those data sets that weren't shown before."""
        if not self._shown:
            self._console.print(
                f"{evaluation.model_version}: {evaluation.queries} queries, seed {evaluation.seed}; intervals hold "
                f"{evaluation.confidence:.0%} of {evaluation.rounds} bootstrap draws of pictures",
                highlight=False,
                markup=False,
            )
        for dataset in evaluation.datasets[self._shown :]:
            self._console.print()
            self._console.print(_dataset(dataset))
        self._shown = len(evaluation.datasets)

    def end(self, evaluation: Evaluation) -> None:
        """Says so if the run was stopped."""
        if evaluation.is_partial:
            self._console.print("\nPARTIAL: stopped before all pictures were measured", style="bold", markup=False)


def _dataset(dataset: DatasetResult) -> RenderableType:
    split = f", split {dataset.split}" if dataset.split else ""
    head = Text(f"{dataset.name}{split}: {pictures_text(dataset)}", style="bold")
    notes = [Text(f"  {note}", style="dim") for note in dataset.notes]
    return Group(head, *notes, *(_task(task) for task in dataset.tasks.values()))


def _task(task: TaskResult) -> RenderableType:
    conditions = "; ".join(f"{condition}: {condition_text(value)}" for condition, value in task.conditions.items())
    parts: list[RenderableType] = [
        Text(f"\n{task.title} ({counted(task.pictures, 'picture')})", style="bold underline"),
        Text(conditions, style="dim"),
    ]
    for table in task.tables:
        if not table.is_detail and table.rows:
            parts.append(_table(table))
    if task.confusion is not None:
        parts += [Text(line) for line in _mistakes(task.confusion)]
    return Padding(Group(*parts), (0, 0, 0, 2), expand=False)


def _table(table: Table) -> RenderableType:
    drawn = ScreenTable(
        box=box.SIMPLE_HEAD,
        title=table.title,
        title_justify="left",
        title_style="italic",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    drawn.add_column("", overflow="fold", min_width=8)
    drawn.add_column(table.items, justify="right", no_wrap=True)
    for column in table.columns:
        drawn.add_column(column.title, justify="right")
    for row in table.rows:
        cells = []
        for column in table.columns:
            estimate = row.values.get(column.key)
            if estimate is None:
                cells.append(Text(""))
                continue
            interval = interval_text(estimate, column.unit)
            cells.append(
                Text(value_text(estimate, column.unit)).append(f"\n{interval}" if interval else "", style="dim")
            )
        drawn.add_row(Text(row.title), str(row.items), *cells, style="dim" if row.is_control else "")
    return drawn


def _mistakes(confusion: Confusion) -> Iterator[str]:
    mistakes = [one for one in confusion.mistakes() if NOTHING not in (one.true, one.predicted)]
    if mistakes:
        yield "labels taken for others, most often:"
    for one in mistakes[:MOST_MISTAKES]:
        yield f"  {one.true} as {one.predicted}: {one.count}"
