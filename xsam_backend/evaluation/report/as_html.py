"""An evaluation as one HTML file: tables, curves and pictures inside, nothing fetched from elsewhere, no scripts."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from xsam_backend import __version__
from xsam_backend.evaluation.confusion import NOTHING, Confusion
from xsam_backend.evaluation.report.drawn_curves import drawn
from xsam_backend.evaluation.report.numbers import condition_text, interval_text, pictures_text, value_text
from xsam_backend.evaluation.results import Case, Evaluation

MOST_LABELS = 16
"""A larger matrix of labels is read by nobody: of more, the most frequent ones are shown."""


def to_html(evaluation: Evaluation, made_at: str = "") -> str:
    """The page. Whatever comes from data or model is escaped.

    Args:
        evaluation: what to show.
        made_at: when it was made, in words; left out if empty.
    """
    environment = Environment(
        loader=PackageLoader("xsam_backend.evaluation.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"embedded": _embedded, "condition": condition_text}
    environment.globals |= {
        "value_text": value_text,
        "interval_text": interval_text,
        "pictures_text": pictures_text,
        "drawn": drawn,
        "matrix": matrix,
    }
    page = environment.get_template("page.html")
    return page.render(evaluation=evaluation, made_at=made_at, package_version=__version__)


@dataclass(frozen=True)
class Cell:
    """A count in the matrix, and its share of its row, 0..1."""

    count: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """Rows are true labels, columns what was said; the last of each is nothing: invented, and missed."""

    labels: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: int


def matrix(confusion: Confusion) -> Matrix:
    """The most frequent labels of a confusion, by how many objects have or got them."""
    frequency = {
        label: sum(count for pair, count in confusion.counts.items() if label in pair) for label in confusion.labels
    }
    shown = sorted(frequency, key=lambda label: (-frequency[label], label))[:MOST_LABELS]
    ends = (*shown, NOTHING)
    rows = []
    for true in ends:
        whole = sum(count for (own, _), count in confusion.counts.items() if own == true)
        counts = [confusion.counts.get((true, said), 0) for said in ends]
        rows.append(tuple(Cell(count, count / whole if whole else 0.0) for count in counts))
    return Matrix(tuple(shown), tuple(rows), len(frequency) - len(shown))


def _embedded(case: Case, which: str) -> str:
    """A picture of a case as a data URI."""
    pixels = case.truth_jpeg if which == "truth" else case.answer_jpeg
    return "data:image/jpeg;base64," + base64.b64encode(pixels).decode()
