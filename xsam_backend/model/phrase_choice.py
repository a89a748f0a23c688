"""The mask that a phrase means, where the best-scored query alone isn't trusted: a vote of the decoder's queries.

The reference takes the query with the highest class score, whatever its mask (``postprocess.phrase_masks``). A model
that isn't sure gives that score to specks now and then, whose pixels are all doubtful, while several other queries
agree on the object.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.postprocess import Detections, class_scores
from xsam_backend.model.query_worth import query_worth
from xsam_backend.model.upscaling import positive_masks

SURE = 0.35
"""Pixels at least this probable are in the mask. Below a half: voters agree on the middle and less on the rim."""

_LEAST = 1e-6


def vote_on_phrases(class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame, sharpness: float) -> Detections:
    """One mask for each condition, in their order; it may be empty. No threshold.

    Every query votes with its worth (see ``query_worth``) to the power of ``sharpness``, above 0: the higher, the
    more the best one decides alone. The score and the query index are those of the query of the highest worth.

    Args:
        class_logits: (Q, C + 1), background last.
        mask_logits: (Q, h, w) over the padded frame.
        frame: where the picture lies in it.
    """
    scores = class_scores(class_logits)
    worth = query_worth(scores, mask_logits, frame)
    weight = (sharpness * worth.clamp(min=_LEAST).log()).softmax(0)  # the powers, shared out; they can't underflow
    mean = torch.einsum("qc,qhw->chw", weight, mask_logits.float().sigmoid())
    best = worth.argmax(0)
    classes = torch.arange(scores.shape[1], device=scores.device)
    return Detections(positive_masks(mean - SURE, frame), scores[best, classes], classes, best, frame.size_hw)
