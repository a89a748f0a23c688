"""What is true of a drawn scene, in symbols: the one source of its phrases, questions and captions.

Everything is about what can be seen: areas, boxes and centres are those of visible masks.
"""

from __future__ import annotations

from dataclasses import dataclass

from xsam_backend.scenes.vocabulary import PATTERN_WORDS

CLEARLY = 0.1
"""Share of the picture's side by which positions must differ before words are made of it."""
HARDLY = 0.02
"""Below this share nobody would speak of a difference. Between the two the case is open and left unsaid."""
CLEARLY_LARGER = 1.4
"""Ratio of areas from which "bigger" is beyond doubt."""


@dataclass(frozen=True)
class Thing:
    """One visible thing.

    Attributes:
        segment: its index in the ground truth.
        name, colour: words of the vocabulary.
        pattern: a word of ``PATTERN_WORDS``, or another surface that is not spoken of.
        area_px: visible pixels.
        centre: (x, y) of the visible pixels' mean, as shares 0..1 of width and height.
        place: name of the stuff that it lies on, None where that is unclear.
        hides: segments of the things of which it covers a good part.
    """

    segment: int
    name: str
    colour: str
    pattern: str
    area_px: int
    centre: tuple[float, float]
    place: str | None = None
    hides: frozenset[int] = frozenset()

    @property
    def pattern_word(self) -> str:
        """The pattern if there is a word for it, else empty."""
        return self.pattern if self.pattern in PATTERN_WORDS else ""

    @property
    def look(self) -> str:
        """Colour, and pattern if it has a word: "red striped"."""
        return f"{self.colour} {self.pattern_word}".strip()

    @property
    def noun(self) -> str:
        """Colour and name: "red ball"."""
        return f"{self.colour} {self.name}"

    @property
    def full_noun(self) -> str:
        """Colour, pattern if it has a word, and name: "red striped ball"."""
        return f"{self.look} {self.name}"

    def offset(self, other: Thing, direction: tuple[int, int]) -> float:
        """How far this centre lies from the other's along a direction, as share of the picture's side."""
        return sum((a - b) * d for a, b, d in zip(self.centre, other.centre, direction, strict=True))


@dataclass(frozen=True)
class SceneFacts:
    """All visible things, and the segment of each visible stuff by name."""

    things: tuple[Thing, ...]
    stuff: dict[str, int]

    def named(self, name: str) -> list[Thing]:
        """The things of a name, in order of segments."""
        return [thing for thing in self.things if thing.name == name]

    def thing_at(self, segment: int) -> Thing:
        """The thing with this segment.

        Raises:
            KeyError: if the segment is stuff or unknown.
        """
        for thing in self.things:
            if thing.segment == segment:
                return thing
        raise KeyError(segment)


def segments_of(things: list[Thing]) -> tuple[int, ...]:
    """Their segments in order."""
    return tuple(thing.segment for thing in things)
