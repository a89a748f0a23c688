"""Ways to point at an object: the data set's own prompts, or simulated ones, drawn with a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from xsam_backend.evaluation.asking import AskedPicture
from xsam_backend.evaluation.datasets.records import PromptKind
from xsam_backend.evaluation.simulated_prompts import centre_click, exact_box, rough_mask, scribble
from xsam_backend.evaluation.tasks.run import Setting, chance
from xsam_backend.geometry.masks import Mask
from xsam_backend.prompts import Region

SIMULATED = "point: most interior pixel; scribble: curve well inside; box: tight; mask: careless outline"
"""Belongs beside every number that rests on simulated prompts."""

_SIMULATORS: Mapping[PromptKind, Callable[[Mask, np.random.Generator], Region]] = {
    "point": lambda mask, _: centre_click(mask),
    "scribble": scribble,
    "box": lambda mask, _: exact_box(mask),
    # Careless, but drawn around the whole object.
    "mask": lambda mask, rng: dataclasses.replace(rough_mask(mask, rng), is_outline=True),
}


class Pointing:
    """The prompts of one run."""

    def __init__(self, setting: Setting) -> None:
        self._seed = setting.options.seed
        self._own = setting.own_prompts
        self.kinds: tuple[PromptKind, ...] = (self._own,) if self._own else setting.options.prompts
        self.words = "the data set's own" if self._own else SIMULATED

    def at(self, picture: AskedPicture, kind: PromptKind, segment: int) -> Region:
        """The region that points at one segment; the same for the same seed, whatever else is asked."""
        if self._own:
            return picture.regions[segment]
        rng = chance(self._seed, picture.truth.source, f"{kind} {segment}")
        return _SIMULATORS[kind](picture.truth.masks[segment], rng)
