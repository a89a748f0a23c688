"""What the model answers with: instances, and an answer around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
"""bool (H, W), True inside the object."""


@dataclass(frozen=True)
class Instances:
    """N masks of one picture with what is known about each.

    Attributes:
        masks: bool (N, H, W), in the picture's own size, EXIF orientation applied.
        scores: float32 (N,), in 0..1, higher is surer.
        labels: N label names or phrases; None where the question had none.
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    labels: tuple[str | None, ...]

    def __post_init__(self) -> None:
        if self.masks.ndim != 3 or self.masks.dtype != np.bool_:
            raise ValueError(f"masks: expected bool (N, H, W), got {self.masks.dtype} {self.masks.shape}")
        count = len(self.masks)
        if self.scores.shape != (count,) or len(self.labels) != count:
            raise ValueError(f"expected {count} scores and labels, got {self.scores.shape} and {len(self.labels)}")
        if count and not (np.isfinite(self.scores).all() and self.scores.min() >= 0 and self.scores.max() <= 1):
            raise ValueError(f"scores: expected finite values in 0..1, got {self.scores}")

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the picture in pixels."""
        return self.masks.shape[1], self.masks.shape[2]

    @property
    def boxes_xyxy(self) -> NDArray[np.float32]:
        """float32 (N, 4): x0, y0, x1, y1 in pixels, maxima exclusive; zeros for an empty mask."""
        boxes = np.zeros((len(self), 4), np.float32)
        for index, mask in enumerate(self.masks):
            ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if len(ys):
                boxes[index] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
        return boxes

    def select(self, indices: Sequence[int] | NDArray[np.intp]) -> Instances:
        """The instances at ``indices``, in that order."""
        chosen = [int(i) for i in indices]
        return Instances(self.masks[chosen], self.scores[chosen], tuple(self.labels[i] for i in chosen))

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> Instances:
        """No instance in a picture of (height, width)."""
        return cls(np.zeros((0, *size_hw), np.bool_), np.zeros(0, np.float32), ())

    @classmethod
    def concatenate(cls, parts: Sequence[Instances], size_hw: tuple[int, int]) -> Instances:
        """All parts' instances, in order. The parts must be of one picture size."""
        if not parts:
            return cls.empty(size_hw)
        return cls(
            np.concatenate([part.masks for part in parts]),
            np.concatenate([part.scores for part in parts]),
            tuple(label for part in parts for label in part.labels),
        )


@dataclass(frozen=True)
class Answer:
    """What one prompt gets back.

    Attributes:
        instances: the masks, best first.
        text: generated text (GCG caption, conversation), else empty. Tags are removed.
        phrase_spans: for GCG, (start, end) in ``text`` of each instance's phrase, one per instance.
        reason: why there is no instance, in words for the operator; empty otherwise.
    """

    instances: Instances
    text: str = ""
    phrase_spans: tuple[tuple[int, int], ...] = field(default=())
    reason: str = ""

    @property
    def phrases(self) -> tuple[str, ...]:
        """Of a caption: what it calls each instance; else empty."""
        return tuple(self.text[start:end] for start, end in self.phrase_spans)
