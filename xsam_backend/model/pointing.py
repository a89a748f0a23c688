"""One object from clicks, boxes and strokes: in the whole picture, and in a close-up where it is small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xsam_backend.geometry.masks import parts_touching, without_crumbs
from xsam_backend.instances import Answer, Instances
from xsam_backend.model import postprocess
from xsam_backend.model.candidates import Candidates, Pass
from xsam_backend.model.click_corrections import corrected
from xsam_backend.model.click_refiner import shipped_refiner
from xsam_backend.model.close_up import close_up_window, reaches_beyond, shift_region, typical_window
from xsam_backend.model.dialogue import Dialogue, Logits
from xsam_backend.model.hints import asked_and_corrected, clicks, covers, named_pixels, outlines
from xsam_backend.model.image_processor import frame_regions
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.interactive_choice import vote
from xsam_backend.model.tiles import SMALL_SHARE, Window
from xsam_backend.model.turns import interactive_turn
from xsam_backend.prompts import Point, Prompt, Region, is_negative
from xsam_backend.region_masks import regions_mask

CLOSE_UPS = 3
"""At most so many are looked at, each with more around: what is cut off at one's rim is larger than it looked."""

CRUMB_SHARE = 0.05
"""What a negative click leaves of an object in separate parts smaller than this share of the largest is left out."""


@dataclass(frozen=True, eq=False)
class FirstLook:
    """What an answer to the first hint comes from, before further clicks correct it.

    Attributes:
        window: of the picture, what was looked at.
        state: of the window.
        regions: the hints that were asked about, in the window's pixels.
        log_odds: (h, w) over the window's padded frame, above 0 inside the mask.
    """

    window: Window
    state: ImageState
    regions: Sequence[Region]
    log_odds: Tensor


@dataclass(frozen=True, eq=False)
class _Seen:
    """An object: its mask, bool (H, W) of the picture, its score, and where both come from."""

    mask: NDArray[np.bool_]
    score: float
    look: FirstLook


class Pointing:
    """Finds what hints point at.

    Args:
        typical_sizes: label -> longer side of its objects, as share of the picture's longer side, where it is known.
    """

    def __init__(self, dialogue: Dialogue, typical_sizes: Mapping[str, float]) -> None:
        self._dialogue = dialogue
        self._typical_sizes = typical_sizes
        self._close_up_share = dialogue.model.config.close_up_share
        self._refiner = shipped_refiner() if dialogue.model.config.refines_clicks else None

    def answers(self, state: ImageState, prompts: Sequence[Prompt], thresholds: Sequence[float]) -> list[Answer]:
        """One object from the clicks, boxes and strokes of each prompt. All that begin with a look at the whole
        picture are asked about in one pass."""
        sizes = [self._first_window_size(prompt) for prompt in prompts]
        in_whole = [number for number, size in enumerate(sizes) if size is None]
        hints = [self._hint(prompts[number].regions, state.size_hw) for number in in_whole]
        asked = dict(zip(in_whole, self._asked(state, hints), strict=True))
        return [
            self._told(state, prompt, self._object(state, prompt.regions, size, asked.get(number)), threshold)
            for number, (prompt, size, threshold) in enumerate(zip(prompts, sizes, thresholds, strict=True))
        ]

    def _told(self, state: ImageState, prompt: Prompt, seen: _Seen, threshold: float) -> Answer:
        if not seen.mask.any():
            reason = "the model sees no object where the prompt points"
            if any(is_negative(region) for region in prompt.regions):
                reason = "nothing is left after the negative clicks"
            return Answer(Instances.empty(state.size_hw), reason=reason)
        if seen.score < threshold:
            reason = f"best score {seen.score:.2f} is below {threshold:.2f}"
            return Answer(Instances.empty(state.size_hw), reason=reason)
        return Answer(Instances.of(seen.mask[None], np.array([seen.score], np.float32), (prompt.label,)))

    def first_look(self, state: ImageState, prompt: Prompt) -> FirstLook:
        """Where further clicks would begin."""
        return self._object(state, prompt.regions, self._first_window_size(prompt)).look

    def candidates(self, state: ImageState, prompt: Prompt) -> Candidates:
        """All that the decoder proposes."""
        region = regions_mask(prompt.regions, state.size_hw)
        framed = frame_regions(region[None], self._dialogue.processor.seg_size)
        (logits,) = self._asked(state, [framed])
        return Candidates([Pass(*logits, (prompt.label,), region=framed[0])], state.frame)

    def _first_window_size(self, prompt: Prompt) -> float | None:
        """Where it is known that the hints mean something small: how long it is, as share of the picture's longer
        side. None: the first look is at the whole picture."""
        if outlines(prompt.regions) or not self._close_up_share:
            return None
        of_label = self._typical_sizes
        if prompt.label is not None:
            of_label = {prompt.label: self._typical_sizes.get(prompt.label, 1.0)}
        sizes = list(of_label.values())
        return float(np.median(sizes)) if sizes and max(sizes) < SMALL_SHARE else None

    def _object(
        self,
        state: ImageState,
        regions: Sequence[Region],
        first_window_size: float | None = None,
        in_whole: Logits | None = None,
    ) -> _Seen:
        """The one object that the hints mean.

        A small object is answered a second time in a close-up of its surroundings, where it has more of the model's
        pixels, and again with more around it if it turns out to be larger. Where it is known to be small, the first
        look is a close-up already: in the whole picture, a click may mean anything.

        Args:
            in_whole: what the decoder says about the hints in the whole picture, where it was asked already.
        """
        hinted = regions_mask(regions, state.size_hw)
        found = None
        if first_window_size is not None:
            window = typical_window(hinted, first_window_size)
            found = self._close_up(state, window, regions)
            if reaches_beyond(found.mask, window):
                found = None
        if found is None or not found.mask.any():
            whole = slice(0, state.size_hw[0]), slice(0, state.size_hw[1])
            found = self._seen_object(state, whole, regions, in_whole)
        mask = found.mask
        for _ in range(CLOSE_UPS):
            extent = hinted if outlines(regions) else mask | hinted
            nearer = close_up_window(extent, self._close_up_share)
            if nearer is None:
                break
            closer = self._close_up(state, nearer, regions)
            if not reaches_beyond(closer.mask, nearer):
                return closer
            mask = closer.mask
        return found

    def _close_up(self, state: ImageState, window: Window, regions: Sequence[Region]) -> _Seen:
        """``_seen_object`` in a window of the picture, enlarged; its mask is the whole picture's.

        Here an answer encodes, as else only ``Searching`` does: where to look depends on the hints. What is seen is a
        state of its own, kept beside the picture's for the next click on the same object, see
        ``CloserLooks.close_up``.
        """
        rows, columns = window
        nearer = self._dialogue.close_up(state, window)
        seen = self._seen_object(nearer, window, [shift_region(region, rows, columns) for region in regions])
        mask = np.zeros(state.size_hw, np.bool_)
        mask[rows, columns] = seen.mask
        return replace(seen, mask=mask)

    def _seen_object(
        self, state: ImageState, window: Window, regions: Sequence[Region], logits: Logits | None = None
    ) -> _Seen:
        """``_object`` in one look, at a window whose state this is; mask and regions are in its pixels."""
        asked, further = asked_and_corrected(regions)
        framed = self._hint(regions, state.size_hw)
        if logits is None:
            (logits,) = self._asked(state, [framed])
        class_logits, mask_logits = logits
        voted = vote(
            postprocess.class_scores(class_logits)[:, 0],
            mask_logits,
            state.frame,
            framed[0],
            is_outline=outlines(asked),
            clicks_xy=clicks(asked),
        )
        look = FirstLook(window, state, asked, voted.log_odds)
        return _Seen(self._corrected(look, voted.mask(state.frame), further, regions), voted.score, look)

    def _corrected(
        self, look: FirstLook, mask: NDArray[np.bool_], further: Sequence[Point], regions: Sequence[Region]
    ) -> NDArray[np.bool_]:
        """The mask after further clicks, and only what all hints together mean of it."""
        corrected_mask = mask
        if further:
            state = look.state
            first = [region for region in look.regions if isinstance(region, Point)]
            corrected_mask = corrected(look.log_odds, state.cells.get(), state.frame, first, further, self._refiner)
        hinted = regions_mask(regions, look.state.size_hw)
        if not outlines(regions):  # what lies apart from all clicks is another object
            return parts_touching(corrected_mask, hinted)
        inside = corrected_mask & hinted
        if any(is_negative(click) and covers(mask, click) for click in further):
            inside = without_crumbs(inside, named_pixels(regions, look.state.size_hw), CRUMB_SHARE)
        return inside

    def _hint(self, regions: Sequence[Region], size_hw: tuple[int, int]) -> Tensor:
        """What of an object's hints the model is asked about, bool (1, P, P) in the padded frame."""
        asked, _ = asked_and_corrected(regions)
        return frame_regions(regions_mask(asked, size_hw)[None], self._dialogue.processor.seg_size)

    def _asked(self, state: ImageState, hints: Sequence[Tensor]) -> list[Logits]:
        """What the decoder says of each hint, bool (1, P, P)."""
        if not hints:
            return []
        shown = self._dialogue.embedded(state.encoded, torch.cat(list(hints)))
        return self._dialogue.ask_together(state.encoded, [(interactive_turn(), one) for one in shown.split(1)])
