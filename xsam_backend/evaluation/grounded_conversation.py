"""Grounded conversation: captions whose phrases have masks, measured as GLaMM does it (Rasheed et al. 2024, GCG).

- AP50 of the masks, whatever the phrase; every mask has the score 1, as in GLaMM's script.
- mIoU: in each picture masks are paired one to one, best first; the mean IoU of the pairs (0 if none overlap), then
  over pictures.
- Recall: the share of all true phrases that are found: masks paired best first among those with IoU >= 0.5 and words
  alike by more than 0.5. GLaMM compares words by a BERT's vectors and stops at the first pair that is not alike; here
  such a pair is passed over, and words are compared by ``caption_scores.word_overlap`` unless a better way is given.
- CIDEr-D of the captions' words. METEOR is left out, see ``caption_scores``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.average_precision import AveragePrecision
from xsam_backend.evaluation.caption_scores import cider_d, word_overlap
from xsam_backend.evaluation.segments import best_first_pairs, check_truth, pairwise_ious
from xsam_backend.instances import Instances

LEAST_IOU = 0.5
LEAST_ALIKE = 0.5


class GroundedCaptions:
    """AP50, mIoU, recall and CIDEr-D over pictures that are added one by one.

    ``alike`` says from 0 to 1 how much two phrases mean the same. ``pictures`` are indices in the order of adding,
    repeats count again.
    """

    def __init__(self, alike: Callable[[str, str], float] = word_overlap) -> None:
        self._alike = alike
        self._precision = AveragePrecision()
        self._mean_ious: list[float] = []
        self._found: list[tuple[int, int]] = []
        self._captions: list[str] = []
        self._references: list[tuple[str, ...]] = []
        self._cider: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self._captions)

    def add(
        self,
        caption: str,
        masks: NDArray[np.bool_],
        phrases: Sequence[str],
        references: Sequence[str],
        true_masks: NDArray[np.bool_],
        true_phrases: Sequence[str],
    ) -> None:
        """Adds one picture.

        Args:
            caption: the answer's text, without tags.
            masks: bool (F, H, W), one per phrase of the answer.
            phrases: the words of the caption that have a mask.
            references: true captions, at least one.
            true_masks: bool (T, H, W), all that a true phrase speaks of in one mask.
            true_phrases: T phrases.

        Raises:
            ValueError: for counts or sizes that do not fit.
        """
        size_hw = (masks.shape[1], masks.shape[2])
        check_truth(size_hw, masks, phrases)
        check_truth(size_hw, true_masks, true_phrases)
        if not references:
            raise ValueError("expected at least one true caption, got none")
        ious = pairwise_ious(masks, true_masks)
        paired = best_first_pairs(ious, ious > 0)
        alike = np.array([[self._alike(one, other) for other in true_phrases] for one in phrases]).reshape(ious.shape)
        found = best_first_pairs(ious, (ious >= LEAST_IOU) & (alike > LEAST_ALIKE))
        self._mean_ious.append(float(np.mean([ious[pair] for pair in paired])) if paired else 0.0)
        self._found.append((len(found), len(true_phrases)))
        unnamed = Instances.of(masks, np.ones(len(masks), np.float32), (None,) * len(masks))
        self._precision.add(unnamed, true_masks, (None,) * len(true_masks))
        self._captions.append(caption)
        self._references.append(tuple(references))
        self._cider = None

    def ap50(self, pictures: NDArray[np.intp] | None = None) -> float:
        """Average precision of all masks at IoU 0.5; nan without a true one."""
        return self._precision.at(0.5, pictures)

    def mean_iou(self, pictures: NDArray[np.intp] | None = None) -> float:
        """Mean over pictures of the mean IoU of paired masks; nan without pictures."""
        return _mean(np.array(self._mean_ious), pictures)

    def recall(self, pictures: NDArray[np.intp] | None = None) -> float:
        """Share of the true phrases found with mask and words; nan if there are none."""
        counts = np.array(self._found, np.float64).reshape(-1, 2)
        found, there = (counts if pictures is None else counts[pictures]).sum(0)
        return float(found / there) if there else float("nan")

    def cider(self, pictures: NDArray[np.intp] | None = None) -> float:
        """Mean CIDEr-D, 0..10; how rare a word is comes from all pictures. nan for fewer than two in all."""
        if self._cider is None:
            self._cider = cider_d(self._captions, self._references)
        return _mean(self._cider, pictures)


def _mean(values: NDArray[np.float64], pictures: NDArray[np.intp] | None) -> float:
    chosen = values if pictures is None else values[pictures]
    return float(chosen.mean()) if len(chosen) else float("nan")
