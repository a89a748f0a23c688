"""The passes of one step, forward and backward: of as many pictures as planned, of fewer where memory runs out.

A step is the mean of its passes. Half the pictures in twice the passes is the step of twice ``accumulate``:
the same pictures count as much, but random points are drawn for each pass.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from xsam_backend.training.batch import AskedPicture

logger = logging.getLogger(__name__)


class Passes:
    """Runs the passes of a stage's steps. A pass that was too large once is cut from then on.

    Args:
        terms: all loss terms of one pass.
        scaler: for gradients in half precision.
    """

    def __init__(
        self, terms: Callable[[Sequence[AskedPicture]], dict[str, Tensor]], scaler: torch.amp.GradScaler
    ) -> None:
        self._terms = terms
        self._scaler = scaler
        self._parts = 1

    def run(self, passes: Iterable[Sequence[AskedPicture]], begin: Callable[[], None]) -> dict[str, Tensor]:
        """Gradients of a step's pictures, added to the parameters; their mean losses, without gradient.

        Args:
            passes: the step's pictures, pass by pass as the config has them.
            begin: makes everything as it is before the first pass; called again where they are begun anew.

        Raises:
            torch.OutOfMemoryError: one picture alone is too much.
        """
        of_step = list(passes)
        while True:
            begin()
            cut = [part for pictures in of_step for part in self._cut(pictures)]
            largest = max(map(len, cut), default=0)
            try:
                return self._accumulated(cut)
            except torch.OutOfMemoryError:
                if largest <= 1:
                    raise
            # Outside of the except block, whose error holds tensors.
            self._parts *= 2
            logger.warning(
                "out of memory with %d pictures in a pass: from now on half of them, in twice the passes of a step; "
                "set accumulate to have it so from the start",
                largest,
            )
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()

    def _cut(self, pictures: Sequence[AskedPicture]) -> list[Sequence[AskedPicture]]:
        size = max(1, -(-len(pictures) // self._parts))
        return [pictures[first : first + size] for first in range(0, len(pictures), size)]

    def _accumulated(self, passes: Sequence[Sequence[AskedPicture]]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        total = sum(map(len, passes))
        for pictures in passes:
            share = total / len(pictures)
            terms = self._terms(pictures)
            for name, term in terms.items():
                losses[name] = losses.get(name, 0) + term.detach() / share
            loss = torch.stack(list(terms.values())).sum() if terms else torch.zeros(())
            if loss.requires_grad:  # not where no question teaches what is trained, as talk teaches no masks
                self._scaler.scale(loss / share).backward()
        return losses
