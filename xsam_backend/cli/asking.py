"""From the command line's clicks, boxes, phrases and labels to prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import click

from xsam_backend.errors import PromptError
from xsam_backend.prompts import Box, Category, Point, Prompt, Region, Task


class Numbers(click.ParamType[tuple[float, ...]]):
    """``3,4`` or ``1.5,2,30,40``: a fixed count of pixel coordinates with commas between."""

    def __init__(self, names: str) -> None:
        self.name = names
        self._count = names.count(",") + 1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Text to numbers; misuse with an example otherwise."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != self._count or not all(map(math.isfinite, numbers)):
            self.fail(f"expected {self.name} in pixels, such as {self._example}, got '{value}'", param, ctx)
        return numbers

    @property
    def _example(self) -> str:
        return ",".join(str(10 * (number + 1)) for number in range(self._count))


def prompts_from(
    labels: Sequence[str],
    clicks: Sequence[tuple[float, ...]],
    not_clicks: Sequence[tuple[float, ...]],
    boxes: Sequence[tuple[float, ...]],
    text: str | None,
    threshold: float | None,
) -> list[Prompt]:
    """What was asked, as prompts.

    All clicks mean one object, and so does one box with clicks; several boxes mean one object each. A phrase is asked
    about as it is. Labels alone are looked for; with a click, box or phrase, one label names what is found.

    Raises:
        PromptError: nothing to ask, or hints that contradict each other.
    """
    hints = bool(clicks or not_clicks or boxes)
    if hints and text:
        raise PromptError("expected clicks and boxes, or --text, got both: ask one after the other")
    if (hints or text) and len(labels) > 1:
        raise PromptError(f"expected one --label for what a click, box or phrase finds, got {len(labels)}")
    label = labels[0] if labels else None
    if text is not None:
        return [Prompt(Task.REFERRING, phrase=text, label=label, score_threshold=threshold)]
    if not hints:
        if not labels:
            raise PromptError("nothing asked: give --click, --box, --text or --label")
        names = tuple(Category(phrase=name, label=name) for name in dict.fromkeys(labels))
        return [Prompt(Task.GENERIC, categories=names, score_threshold=threshold)]
    points = (*(Point(x, y) for x, y in clicks), *(Point(x, y, positive=False) for x, y in not_clicks))
    drawn = [Box.from_xyxy(*corners) for corners in boxes]
    if len(drawn) > 1 and points:
        raise PromptError("several boxes are several objects: which one the clicks are about can't be told")
    groups: list[tuple[Region, ...]] = [(box,) for box in drawn] if len(drawn) > 1 else [(*drawn, *points)]
    return [Prompt(Task.INTERACTIVE, group, label=label, score_threshold=threshold) for group in groups]
