"""Numbers in words: as screen and page show them."""

from __future__ import annotations

import math

from xsam_backend.evaluation.bootstrap import Estimate
from xsam_backend.evaluation.results import Condition, DatasetResult, Unit

MISSING = "–"


def value_text(estimate: Estimate, unit: Unit) -> str:
    """ "0.712" for a share, "4.30" for any other number."""
    if not math.isfinite(estimate.value):
        return MISSING
    return f"{estimate.value:.3f}" if unit == "share" else f"{estimate.value:.2f}"


def interval_text(estimate: Estimate, unit: Unit) -> str:
    """ "0.65–0.77"; empty where there is none."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    digits = 2 if unit == "share" else 1
    return f"{estimate.low:.{digits}f}–{estimate.high:.{digits}f}"


def condition_text(value: Condition) -> str:
    """A condition's value."""
    if isinstance(value, float):
        return f"{value:.2f}" if math.isfinite(value) else MISSING
    return str(value)


def counted(number: int, word: str) -> str:
    """ "1 picture", "2 pictures"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def pictures_text(dataset: DatasetResult) -> str:
    """How many pictures there are, and how many of them count."""
    words = counted(dataset.pictures, "picture")
    if dataset.reached < dataset.pictures:
        words += f", stopped after {dataset.reached}"
    if dataset.unreadable:
        words += f", {dataset.unreadable} could not be read"
    return words
