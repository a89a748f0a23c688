"""Tables as curves: one panel for each whose first column counts something."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot, ticker

from benchmarks.report import Table

WIDE = 20
"""Where every table's sizes span so much, all axes are logarithmic and of one scale: growth in proportion is as steep
in each."""

PANEL_INCHES = (3.8, 3.2)


def draw(tables: Sequence[Table], path: Path) -> None:
    """Draw the tables that can be, as PNG.

    Raises:
        ValueError: none can be.
    """
    drawn = [table for table in tables if len(table.rows) > 1 and all(_is_number(row[0]) for row in table.rows)]
    if not drawn:
        raise ValueError("expected a table whose first column are numbers: others have no curve")
    mpl.use("Agg")
    are_wide = all(_is_wide(table) for table in drawn)
    width, height = PANEL_INCHES
    figure, panels = pyplot.subplots(
        1, len(drawn), figsize=(width * len(drawn), height), layout="constrained", squeeze=False, sharey=are_wide
    )
    for panel, table in zip(panels[0], drawn, strict=True):
        sizes = [row[0] for row in table.rows]
        for column, name in enumerate(table.columns[1:], 1):
            values = [row[column] for row in table.rows]
            if all(_is_number(value) for value in values):
                panel.plot(sizes, values, marker="o", label=name)
        panel.set(title=table.title, xlabel=table.columns[0])
        if are_wide:
            panel.set(xscale="log", yscale="log")
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        else:
            panel.set_ylim(0, None)
        panel.tick_params(labelleft=True)
        panel.grid(alpha=0.3, which="both")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _is_wide(table: Table) -> bool:
    sizes = [float(row[0]) for row in table.rows]
    return max(sizes) > WIDE * min(sizes) > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
