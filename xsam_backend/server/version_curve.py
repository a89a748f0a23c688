"""A project's versions as a small picture: how good each was on pictures that it hadn't learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT, MARGIN = 420, 130, 24


@dataclass(frozen=True)
class CurvePoint:
    """One version: what it was marked at, 0..1, against what was deployed then, and whether it took its place."""

    name: str
    deployed: float
    candidate: float
    promoted: bool


def draw_curve(points: Sequence[CurvePoint]) -> Markup:
    """An SVG of the versions in their order; empty without any. Promoted ones are filled, refused ones hollow."""
    if not points:
        return Markup("")
    values = [value for point in points for value in (point.deployed, point.candidate)]
    low, high = min(values), max(values)
    span = max(high - low, 0.02)

    def place(number: int, value: float) -> tuple[float, float]:
        x = MARGIN * 2 + (WIDTH - 3 * MARGIN) * (number / max(len(points) - 1, 1))
        return round(x, 1), round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / span, 1)

    parts = []
    for number, point in enumerate(points):
        x, before = place(number, point.deployed)
        _, after = place(number, point.candidate)
        title = Markup("<title>{}: {:.3f} -> {:.3f}</title>").format(point.name, point.deployed, point.candidate)
        look = "filled" if point.promoted else "hollow"
        parts.append(Markup('<line class="change" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(x, before, x, after))
        parts.append(Markup('<circle class="before" cx="{}" cy="{}" r="3"/>').format(x, before))
        parts.append(Markup('<circle class="{}" cx="{}" cy="{}" r="5">{}</circle>').format(look, x, after, title))
    for value in (low, low + span):
        _, y = place(0, value)
        parts.append(Markup('<text x="4" y="{}">{:.2f}</text>').format(y + 4, value))
    return Markup('<svg class="curve" viewBox="0 0 {} {}" role="img" aria-label="versions">{}</svg>').format(
        WIDTH, HEIGHT, Markup("").join(parts)
    )
