"""What the decoder proposes for one question, and the forms in which it is wanted.

Annotators get ``answered``. Benchmarks count the reference's own forms of the same pass: ``instances`` for average
precision, ``segments`` for panoptic quality, ``semantic`` for IoU per class, ``closest`` for interactive masks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.instances import Instances
from xsam_backend.model import postprocess
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.postprocess import Detections
from xsam_backend.model.tiles import Window, in_picture, joined


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass of the decoder.

    Attributes:
        class_logits: (Q, C + 1), background last.
        mask_logits: (Q, h, w) over the padded frame.
        labels: C, what the conditions' instances are called.
        stuff: indices of the conditions that are stuff.
        region: bool (P, P) in the padded frame, what an interactive question points at; None for others.
        typed: C, what annotators wrote to ask for them; or empty.
    """

    class_logits: Tensor
    mask_logits: Tensor
    labels: tuple[str | None, ...]
    stuff: tuple[int, ...] = ()
    region: Tensor | None = None
    typed: tuple[str, ...] = ()


Thresholds = float | Mapping[str | None, float]
"""The least score, of all or label by label."""


def _least(threshold: Thresholds, label: str | None) -> float:
    return threshold[label] if isinstance(threshold, Mapping) else threshold


class Candidates:
    """All proposals for a list of conditions, in one pass or, where the list is too long for that, in several.

    ``closer`` are those for windows of the picture, where it was looked at a second time: things are then counted in
    what all looks have seen together, each once.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        frame: PictureFrame,
        closer: Sequence[tuple[Window, Candidates]] = (),
        large: Collection[str | None] = (),
    ) -> None:
        self._passes = tuple(passes)
        self._frame = frame
        self._closer = tuple(closer)
        self._large = large

    def with_closer_looks(
        self, closer: Sequence[tuple[Window, Candidates]], large: Collection[str | None] = ()
    ) -> Candidates:
        """The same with what windows of the picture show, save for the labels of large objects."""
        return Candidates(self._passes, self._frame, closer, large)

    @torch.inference_mode()
    def answered(self, threshold: Thresholds) -> Instances:
        """What annotators get, best first: each region once, stuff as disjoint areas, nothing below the threshold."""
        whole = self._together([self._answered(one, threshold) for one in self._passes])
        return self._with_closer(whole, lambda look: look.answered(threshold))

    def _with_closer(self, whole: Instances, of_window: Callable[[Candidates], Instances]) -> Instances:
        """Stuff and large objects are taken from the whole picture alone: windows cut them, and they need no closer
        look. Windows are asked for them all the same: what is taken for a large thing isn't taken for a small one."""
        if not self._closer:
            return whole
        cut = {*self._large, *(one.labels[index] for one in self._passes for index in one.stuff)}
        is_cut = np.array([label in cut for label in whole.labels], np.bool_)
        closer = []
        for window, look in self._closer:
            seen = of_window(look)
            things = seen.select([i for i, label in enumerate(seen.labels) if label not in cut])
            closer.append(in_picture(things, window, self._frame.size_hw))
        things = joined(whole.select(np.flatnonzero(~is_cut)), closer)
        return self._together([whole.select(np.flatnonzero(is_cut)), things])

    @torch.inference_mode()
    def instances(self) -> Instances:
        """The best (query, condition) pairs, as many as there are queries. Masks may overlap, and repeat; not where
        there were closer looks."""
        parts = []
        for one in self._passes:
            found = postprocess.instances(one.class_logits, one.mask_logits, self._frame, threshold=0.0)
            parts.append(named(found, one.labels))
        return self._with_closer(self._together(parts), Candidates.instances)

    @torch.inference_mode()
    def segments(self, threshold: Thresholds = 0.0) -> Instances:
        """A panoptic result, best first: no pixel in two of them, one for each class of stuff, nothing below the
        threshold. What scores less than 0.5 is in none."""
        parts = []
        for one in self._passes:
            panoptic = postprocess.panoptic(one.class_logits, one.mask_logits, self._frame, stuff=one.stuff)
            parts.append(named(panoptic.detections(), one.labels, one.typed))
        found = self._together(parts)
        return found.select(
            [i for i, label in enumerate(found.labels) if found.scores[i] >= _least(threshold, label)]
        )

    @torch.inference_mode()
    def semantic(self, threshold: Thresholds = 0.0) -> Instances:
        """Each pixel's one label, surest first: a mask for each label that any pixel has, its score the pixels' mean.

        Args:
            threshold: pixels that no query is so sure of are of none.
        """
        device = self._passes[0].class_logits.device
        best = torch.full(self._frame.size_hw, -1.0, device=device)
        classes = torch.zeros(self._frame.size_hw, dtype=torch.int64, device=device)
        firsts = np.cumsum([0, *(len(one.labels) for one in self._passes)]).tolist()
        for one, first in zip(self._passes, firsts[:-1], strict=True):
            best, classes = postprocess.semantic_choice(
                one.class_logits, one.mask_logits, self._frame, first, best, classes
            )
        sure = torch.zeros_like(best)
        for one, first, after in zip(self._passes, firsts[:-1], firsts[1:], strict=True):
            own = (classes - first).clamp(0, after - first - 1)
            certainty = postprocess.pixel_certainty(one.class_logits, one.mask_logits, self._frame, own)
            sure = torch.where((classes >= first) & (classes < after), certainty, sure)
        labels = [label for one in self._passes for label in one.labels]
        names = list(dict.fromkeys(labels))
        name_of = torch.tensor([names.index(label) for label in labels], device=device)[classes]
        least = torch.tensor([_least(threshold, name) for name in names], device=device)
        name_of = torch.where(sure >= least[name_of], name_of, len(names))  # the last is nobody's
        counts = torch.bincount(name_of.flatten(), minlength=len(names) + 1).tolist()
        name_of, sure = name_of.cpu(), sure.cpu()
        parts = []
        for number, name in enumerate(names):
            if counts[number]:
                mask = name_of == number
                score = np.array([float(sure[mask].mean())], np.float32)
                parts.append(Instances((CroppedMask.of(mask.numpy()),), score, (name,), self._frame.size_hw))
        return self._together(parts)

    @torch.inference_mode()
    def closest(self) -> Instances:
        """The one object that the reference chooses for an interactive question: the box that fits the region's best.

        Raises:
            ValueError: the question wasn't interactive.
        """
        (only,) = self._passes
        if only.region is None:
            raise ValueError("expected an interactive question, got one without a region")
        region = only.region.to(only.mask_logits.device)
        return named(postprocess.interactive(only.class_logits, only.mask_logits, self._frame, region), only.labels)

    def _answered(self, one: Pass, threshold: Thresholds) -> Instances:
        of_class = torch.tensor([_least(threshold, label) for label in one.labels], device=one.class_logits.device)
        lowest = float(of_class.min())
        found = postprocess.instances(one.class_logits, one.mask_logits, self._frame, threshold=lowest)
        found = found[found.scores >= of_class[found.class_indices]]
        found = postprocess.without_duplicates(found, one.mask_logits)
        if not one.stuff:
            return named(found, one.labels, one.typed)
        stuff = torch.tensor(one.stuff, device=found.class_indices.device)
        spread = postprocess.panoptic(one.class_logits, one.mask_logits, self._frame, stuff=one.stuff).detections()
        flat = torch.isin(spread.class_indices, stuff) & (spread.scores >= of_class[spread.class_indices])
        things = found[~torch.isin(found.class_indices, stuff)]
        return Instances.concatenate(
            [named(spread[flat], one.labels, one.typed), named(things, one.labels, one.typed)], self._frame.size_hw
        )

    def _together(self, parts: Sequence[Instances]) -> Instances:
        instances = Instances.concatenate(parts, self._frame.size_hw)
        return instances.select(np.argsort(-instances.scores, kind="stable"))


def named(found: Detections, labels: Sequence[str | None], typed: Sequence[str] = ()) -> Instances:
    """Detections as instances in RAM, with the label of their condition, and what was typed to ask for it."""
    conditions = found.class_indices.tolist()
    return Instances(
        found.cropped,
        found.scores.float().clamp(0, 1).cpu().numpy(),
        tuple(labels[index] for index in conditions),
        found.size_hw,
        tuple(typed[index] for index in conditions) if typed else (),
    )
