"""What the model answers with: instances, and an answer around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.cropped_masks import CroppedMask, stacked


@dataclass(frozen=True)
class Instances:
    """N masks of one picture with what is known about each.

    Attributes:
        cropped: N masks, in the picture's own size, EXIF orientation applied.
        scores: float32 (N,), in 0..1, higher is surer.
        labels: N label names or phrases; None where the question had none.
        size_hw: (height, width) of the picture in pixels.
        typed: N texts that annotators wrote to find them (see ``Category``); empty, or all left out, where none did.
    """

    cropped: tuple[CroppedMask, ...]
    scores: NDArray[np.float32]
    labels: tuple[str | None, ...]
    size_hw: tuple[int, int]
    typed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.cropped)
        object.__setattr__(self, "typed", self.typed or ("",) * count)
        if len(self.typed) != count:
            raise ValueError(f"expected {count} typed texts, got {len(self.typed)}")
        if self.scores.shape != (count,) or len(self.labels) != count:
            raise ValueError(f"expected {count} scores and labels, got {self.scores.shape} and {len(self.labels)}")
        if count and not (np.isfinite(self.scores).all() and self.scores.min() >= 0 and self.scores.max() <= 1):
            raise ValueError(f"scores: expected finite values in 0..1, got {self.scores}")
        others = {mask.size_hw for mask in self.cropped} - {self.size_hw}
        if others:
            raise ValueError(f"masks: expected all of {self.size_hw} (height, width), got {others}")

    @classmethod
    def of(cls, masks: NDArray[np.bool_], scores: NDArray[np.float32], labels: tuple[str | None, ...]) -> Instances:
        """Of masks as large as the picture, bool (N, H, W); they are copied."""
        if masks.ndim != 3 or masks.dtype != np.bool_:
            raise ValueError(f"masks: expected bool (N, H, W), got {masks.dtype} {masks.shape}")
        return cls(tuple(map(CroppedMask.of, masks)), scores, labels, (masks.shape[1], masks.shape[2]))

    def __len__(self) -> int:
        return len(self.cropped)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """bool (N, H, W), made anew at each use: large where many objects are in a large picture."""
        return stacked(self.cropped, self.size_hw)

    @property
    def boxes_xyxy(self) -> NDArray[np.float32]:
        """float32 (N, 4): x0, y0, x1, y1 in pixels, maxima exclusive; zeros for an empty mask."""
        boxes = [mask.box_xyxy or (0, 0, 0, 0) for mask in self.cropped]
        return np.array(boxes, np.float32).reshape(-1, 4)

    def select(self, indices: Sequence[int] | NDArray[np.intp]) -> Instances:
        """The instances at ``indices``, in that order."""
        chosen = [int(i) for i in indices]
        return Instances(
            tuple(self.cropped[i] for i in chosen),
            self.scores[chosen],
            tuple(self.labels[i] for i in chosen),
            self.size_hw,
            tuple(self.typed[i] for i in chosen),
        )

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> Instances:
        """No instance in a picture of (height, width)."""
        return cls((), np.zeros(0, np.float32), (), size_hw)

    @classmethod
    def concatenate(cls, parts: Sequence[Instances], size_hw: tuple[int, int]) -> Instances:
        """All parts' instances, in order. The parts must be of one picture size."""
        return cls(
            tuple(mask for part in parts for mask in part.cropped),
            np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)]),
            tuple(label for part in parts for label in part.labels),
            size_hw,
            tuple(text for part in parts for text in part.typed),
        )


@dataclass(frozen=True)
class Answer:
    """What one prompt gets back.

    Attributes:
        instances: the masks, best first.
        text: generated text (GCG caption, conversation), else empty. Tags are removed.
        phrase_spans: for GCG, (start, end) in ``text`` of each instance's phrase, one per instance.
        reason: why there is no instance, or not what was asked, in words for the operator; empty otherwise.
    """

    instances: Instances
    text: str = ""
    phrase_spans: tuple[tuple[int, int], ...] = field(default=())
    reason: str = ""

    @property
    def phrases(self) -> tuple[str, ...]:
        """Of a caption: what it calls each instance; else empty."""
        return tuple(self.text[start:end] for start, end in self.phrase_spans)
