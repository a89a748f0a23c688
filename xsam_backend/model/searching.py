"""All objects of some names, or like some examples: in the whole picture and, of small ones, in windows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xsam_backend.model.candidates import Candidates, Pass
from xsam_backend.model.closer_looks import CloserLooks
from xsam_backend.model.dialogue import Dialogue
from xsam_backend.model.encoded import Encoded
from xsam_backend.model.image_processor import frame_regions
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.tiles import MOST_GUESSED, SMALL_SHARE, Window, longer_share, many_small, tile_windows
from xsam_backend.model.turns import generic_turn, vgd_turn
from xsam_backend.prompts import Category, Exemplar, Form, Point, Prompt, Region
from xsam_backend.region_masks import region_mask

Look = Callable[[Encoded, Sequence[PictureFrame]], list[Candidates]]
"""Asks one question about each of several pictures."""


class Searching:
    """Finds all of a kind.

    Args:
        typical_sizes: label -> longer side of its objects, as share of the picture's longer side, where it is known.
    """

    def __init__(self, dialogue: Dialogue, typical_sizes: Mapping[str, float]) -> None:
        self._dialogue = dialogue
        self._typical_sizes = typical_sizes

    def named(self, state: ImageState, prompt: Prompt, least_score: float) -> Candidates:
        """By the prompt's categories.

        Args:
            least_score: what scores less isn't taken for an object where small ones are counted.
        """
        groups = self._dialogue.groups(prompt.categories)

        def look(encoded: Encoded, frames: Sequence[PictureFrame]) -> list[Candidates]:
            of_groups = [self.categories(encoded, group) for group in groups]
            return [Candidates([of[row] for of in of_groups], frame) for row, frame in enumerate(frames)]

        (found,) = look(state.encoded, (state.frame,))
        labels = [category.label for category in prompt.categories if category.is_thing]
        if prompt.form is not Form.OBJECTS:  # what covers the picture is seen in the whole of it
            return found
        windows = self._windows(state, labels, found, least_score)
        return self._with_looks(found, look, state.looks, windows)

    def alike(self, state: ImageState, prompt: Prompt, least_score: float) -> Candidates:
        """Like the prompt's examples, each as the window shows it that shows most of it; or like exemplars of other
        pictures, all of one label together."""
        labels: tuple[str | None, ...]
        if prompt.exemplars:
            labels, shown, enlarged = self._of_other_pictures(prompt.exemplars)
            found = self._alike(state.encoded, (state.frame,), labels, shown)[0]
            windows = self._windows(state, labels, found, least_score)
        else:
            masks = np.stack([region_mask(region, state.size_hw) for region in prompt.shown])
            known: tuple[str | None, ...] = tuple(category.label for category in prompt.categories)
            labels = known if len(known) == len(masks) else (prompt.label,) * len(masks)
            shown = self._dialogue.embedded(state.encoded, self._framed(masks))
            found = self._alike(state.encoded, (state.frame,), labels, shown)[0]
            drawn: dict[str | None, list[float]] = {}
            for label, region, mask in zip(labels, prompt.shown, masks, strict=True):
                if not isinstance(region, Point):  # a click doesn't say how large its object is
                    drawn.setdefault(label, []).append(longer_share(mask))
            windows = self._windows(state, labels, found, least_score, drawn)
            enlarged = torch.cat([self._nearest(state.looks, windows, mask) for mask in masks]) if windows else shown
        return self._with_looks(
            found, lambda encoded, frames: self._alike(encoded, frames, labels, enlarged), state.looks, windows
        )

    def exemplar(self, state: ImageState, region: Region, label: str) -> Exemplar:
        """What a region's object looks like, for other pictures.

        Raises:
            PromptError: a region outside the picture.
        """
        mask = region_mask(region, state.size_hw)
        shown = self._dialogue.embedded(state.encoded, self._framed(mask[None]))
        share = self._typical_sizes.get(label, longer_share(mask))
        most = min(self._dialogue.model.config.closest_tiles, MOST_GUESSED)
        windows = tile_windows(share, state.size_hw, most) if share < SMALL_SHARE else []
        enlarged = self._nearest(state.looks, windows, mask) if windows else shown
        return Exemplar(label, *(embedding[0].float().cpu().numpy() for embedding in (shown, enlarged)))

    def _of_other_pictures(self, exemplars: Sequence[Exemplar]) -> tuple[tuple[str, ...], Tensor, Tensor]:
        """Labels (C), and the means of their exemplars' embeddings, (C, W) as whole pictures and as closer looks show
        them. One condition for each label: several that mean the same would take the score from one another."""
        labels = tuple(dict.fromkeys(exemplar.label for exemplar in exemplars))
        of_label = [[one for one in exemplars if one.label == label] for label in labels]
        shown = np.stack([np.mean([one.in_picture for one in group], axis=0) for group in of_label])
        enlarged = np.stack([np.mean([one.enlarged for one in group], axis=0) for group in of_label])
        model = self._dialogue.model
        return (
            labels,
            torch.from_numpy(shown).to(model.device, model.dtype),
            torch.from_numpy(enlarged).to(model.device, model.dtype),
        )

    def _alike(
        self, encoded: Encoded, frames: Sequence[PictureFrame], labels: Sequence[str | None], exemplars: Tensor
    ) -> list[Candidates]:
        asked = self._dialogue.ask(encoded, vgd_turn(len(labels)), exemplars)
        return [
            Candidates([Pass(*logits, tuple(labels))], frame) for logits, frame in zip(asked, frames, strict=True)
        ]

    def _framed(self, masks: NDArray[np.bool_]) -> Tensor:
        return frame_regions(masks, self._dialogue.processor.seg_size)

    def categories(self, encoded: Encoded, group: Sequence[Category]) -> list[Pass]:
        """One pass over a list of categories, for each picture."""
        labels = tuple(category.label for category in group)
        stuff = tuple(i for i, category in enumerate(group) if not category.is_thing)
        typed = tuple(category.typed for category in group)
        asked = self._dialogue.ask(encoded, generic_turn([category.phrase for category in group]))
        return [Pass(*logits, labels, stuff, typed=typed) for logits in asked]

    def _nearest(self, looks: CloserLooks, windows: Sequence[Window], mask: NDArray[np.bool_]) -> Tensor:
        """An exemplar's embedding (1, W), as the window that shows most of it shows it."""
        best = max(windows, key=lambda window: int(mask[window].sum()))
        encoded, row = looks.at(best)
        return self._dialogue.embedded(encoded, self._framed(np.ascontiguousarray(mask[best])[None]), row)

    def _windows(
        self,
        state: ImageState,
        labels: Sequence[str | None],
        found: Candidates,
        least_score: float,
        drawn: Mapping[str | None, Sequence[float]] = MappingProxyType({}),
    ) -> list[Window]:
        """The windows that deserve a closer look: where one of the labels is known to be of small objects, or none is
        known and many small ones were found.

        Args:
            drawn: label -> how large its exemplars in this picture are, longer side as share of the picture's longer
                side. Pictures of one project differ: windows fit these sizes rather than the project's.
        """
        most = self._dialogue.model.config.closest_tiles
        if most < 2:
            return []
        guessed = min(most, MOST_GUESSED)
        known = {label: share for label, share in self._typical_sizes.items() if label in labels}
        if not known:
            share = many_small(found.answered(least_score))
            return [] if share is None else tile_windows(share, state.size_hw, guessed)
        small = [label for label, share in known.items() if share < SMALL_SHARE]
        if not small:
            return []
        in_picture = [float(np.median(drawn[label])) for label in small if label in drawn]
        if in_picture:
            return tile_windows(min(in_picture), state.size_hw, most)
        return tile_windows(min(known.values()), state.size_hw, guessed)

    def _with_looks(self, found: Candidates, look: Look, looks: CloserLooks, windows: Sequence[Window]) -> Candidates:
        """With what windows show. Which ones depends on the question; they are encoded for each, unless ``looks``
        keeps all: dozens of every picture would take too much memory."""
        closer: list[tuple[Window, Candidates]] = []
        for batch in looks.through(windows):
            closer.extend(zip(batch.windows, look(batch.encoded, batch.frames), strict=True))
        return found.with_closer_looks(
            closer, large=[label for label, share in self._typical_sizes.items() if share >= SMALL_SHARE]
        )
