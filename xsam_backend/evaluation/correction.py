"""How many clicks a mask needs: a simulated annotator corrects until content, as interactive segmentation has it.

The first click is at the object's centre; each next one is at the centre of the largest error, positive or negative
(Xu et al. 2016, "Deep Interactive Object Selection"; NoC as in RITM and SimpleClick). What counts per object is its
trace: the IoU after each click.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.simulated_prompts import centre_click, corrective_click
from xsam_backend.geometry.masks import Mask, mask_iou
from xsam_backend.prompts import Point

MOST_CLICKS = 20
TARGET_IOUS = (0.85, 0.90)
"""The annotator is content with the last of them."""

Trace = Sequence[float]
"""IoU after the first click, the second, ...; shorter than the most clicks where the annotator was content."""


def corrected(
    answer: Callable[[tuple[Point, ...]], Mask],
    truth: Mask,
    most_clicks: int = MOST_CLICKS,
    content_iou: float = TARGET_IOUS[-1],
) -> list[float]:
    """The trace of one object.

    Args:
        answer: from all clicks so far to a bool (H, W) mask.
        truth: bool (H, W), not empty.

    Raises:
        ValueError: an empty truth.
    """
    clicks = [centre_click(truth)]
    trace: list[float] = []
    while True:
        predicted = answer(tuple(clicks))
        trace.append(mask_iou(predicted, truth))
        if trace[-1] >= content_iou or len(trace) == most_clicks:
            return trace
        # What a click couldn't change is not clicked again: the next one keeps away from it.
        seen = predicted.copy()
        for click in clicks:
            pixel = int(click.y_px), int(click.x_px)
            seen[pixel] = truth[pixel]
        following = corrective_click(truth, seen)
        if following is None:
            return trace
        clicks.append(following)


def clicks_needed(trace: Trace, target_iou: float) -> int | None:
    """How many clicks until the IoU first reaches the target; None if it never does."""
    return next((number for number, iou in enumerate(trace, 1) if iou >= target_iou), None)


def mean_iou_by_clicks(traces: Sequence[Trace], most_clicks: int = MOST_CLICKS) -> NDArray[np.float64]:
    """float64 (most_clicks,): mean IoU after 1, 2, ... clicks; an ended trace keeps its last IoU. nan for none."""
    if not traces:
        return np.full(most_clicks, np.nan)
    padded = [[*trace[:most_clicks], *[trace[-1]] * (most_clicks - len(trace))] for trace in traces]
    means: NDArray[np.float64] = np.mean(padded, axis=0)
    return means
