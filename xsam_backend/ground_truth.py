"""A picture with all that is known to be true about it: what training learns from and evaluation compares with.

Drawn scenes, COCO folders and accepted annotations all become this one type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Expression:
    """Words about some of the picture's segments.

    ``text`` is a phrase ("the red ball on the left") or a question ("What could roll away?"); ``segments`` are
    indices into ``GroundTruth.masks``; none means that the words are about something absent.
    ``answer`` is what a question's answer says in words, empty for phrases.
    """

    text: str
    segments: tuple[int, ...]
    answer: str = ""


@dataclass(frozen=True)
class Caption:
    """A sentence about the picture. ``spans`` are (start, end, segments): characters and what they speak of."""

    text: str
    spans: tuple[tuple[int, int, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class GroundTruth:
    """One picture and its truth.

    Attributes:
        image: uint8 (H, W, 3) RGB, EXIF orientation applied.
        masks: bool (N, H, W), one per segment (things: one object each, visible part; stuff: one per class).
        names: N class names.
        is_thing: bool (N,).
        is_crowd: bool (N,), groups outlined as one; never an object of their own, but part of what a class name or
            phrase covers.
        complete_for: class names of which every instance in the picture is labelled, so that absence of a mask
            means absence of the thing. Names not listed may be there unlabelled.
        referring: phrases for segments (and absent ones).
        questions: questions that take a step of thought.
        captions: sentences, with grounded spans where known.
        looks: how each segment looks, in words ("red striped"); may be empty for one, and () where no such words
            are known.
        emphasis: float (N,), how much more often than others each segment is asked about in training; None where all
            count alike.
        source: where it comes from, for reports: file name or "scene 12345".
        ignored: bool (H, W), pixels that no measure counts, because nobody said what they are ("void"); None where
            every pixel counts.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    names: tuple[str, ...]
    is_thing: NDArray[np.bool_]
    is_crowd: NDArray[np.bool_]
    complete_for: frozenset[str] = frozenset()
    referring: tuple[Expression, ...] = ()
    questions: tuple[Expression, ...] = ()
    captions: tuple[Caption, ...] = ()
    looks: tuple[str, ...] = ()
    emphasis: NDArray[np.float64] | None = None
    source: str = field(default="")
    ignored: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"image: expected uint8 (H, W, 3), got {self.image.dtype} {self.image.shape}")
        count = len(self.names)
        if self.masks.shape != (count, *self.image.shape[:2]) or self.masks.dtype != np.bool_:
            raise ValueError(
                f"masks: expected bool {(count, *self.image.shape[:2])}, got {self.masks.dtype} {self.masks.shape}"
            )
        if self.is_thing.shape != (count,) or self.is_crowd.shape != (count,):
            raise ValueError(f"is_thing, is_crowd: expected ({count},) each")
        if self.looks and len(self.looks) != count:
            raise ValueError(f"looks: expected {count} or none, got {len(self.looks)}")
        if self.emphasis is not None and self.emphasis.shape != (count,):
            raise ValueError(f"emphasis: expected ({count},) or None, got {self.emphasis.shape}")
        if self.ignored is not None and (
            self.ignored.shape != self.image.shape[:2] or self.ignored.dtype != np.bool_
        ):
            raise ValueError(
                f"ignored: expected bool {self.image.shape[:2]}, got {self.ignored.dtype} {self.ignored.shape}"
            )

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def union(self, segments: Sequence[int]) -> NDArray[np.bool_]:
        """bool (H, W): all given segments together."""
        if not segments:
            return np.zeros(self.size_hw, np.bool_)
        union: NDArray[np.bool_] = np.any(self.masks[list(segments)], axis=0)
        return union
