"""An object that a simulated annotator corrects: where it begins, and the next click."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from xsam_backend.evaluation.simulated_prompts import corrective_click
from xsam_backend.geometry.masks import Mask, mask_iou
from xsam_backend.model.click_corrections import Correction
from xsam_backend.model.picture_cells import PictureCells
from xsam_backend.training.clicks.first_answers import FirstAnswer

NEARLY_RIGHT, BLURRED, NOTHING = 0.2, 0.15, 0.07
"""So often a correction begins with a sharp mask that is nearly right, as a better model has it; with the model's
own, distorted; and with no mask at all. Otherwise with the model's own."""

OFF_CENTRE_CELLS = 4
"""Half of the clicks miss the middle of what is wrong, by so much at most each way."""

NOTHING_LOG_ODDS = -3.0


class SimulatedCorrection:
    """One object, its truth, and the clicks that were made.

    Args:
        truth: bool (cells).
        clicks: (N, 2), x and y of the first hint's clicks, 0..1.
    """

    def __init__(
        self, log_odds: NDArray[np.floating], cells: PictureCells, truth: Mask, clicks: NDArray[np.floating]
    ) -> None:
        self.correction = Correction(log_odds, cells)
        self.truth = truth
        self.clicks: list[tuple[int, int]] = []
        for across, down in clicks.tolist():
            self._make(*self.correction.cell(down, across), positive=True)

    @property
    def iou(self) -> float:
        """Of the mask as it is, on the cells."""
        return mask_iou(self.correction.mask, self.truth)

    def click(self, rng: np.random.Generator | None = None) -> bool:
        """Make the next click, in the middle of the largest error, or near it; False if nothing is wrong."""
        mask = self.correction.mask
        for row, column in self.clicks:  # what a click couldn't change isn't clicked again
            mask[row, column] = self.truth[row, column]
        following = corrective_click(self.truth, mask)
        if following is None:
            return False
        row, column = int(following.y_px), int(following.x_px)
        if rng is not None and rng.random() < 0.5:
            near_row, near_column = (row, column) + rng.integers(-OFF_CENTRE_CELLS, OFF_CENTRE_CELLS + 1, 2)
            inside = 0 <= near_row < mask.shape[0] and 0 <= near_column < mask.shape[1]
            wrong = inside and self.truth[near_row, near_column] != mask[near_row, near_column]
            if wrong and self.truth[near_row, near_column] == following.positive:
                row, column = int(near_row), int(near_column)
        self._make(row, column, following.positive)
        return True

    def _make(self, row: int, column: int, positive: bool) -> None:
        self.correction.click(row, column, positive)
        self.clicks.append((row, column))

    def seen_truth(self, side: int) -> NDArray[np.float32]:
        """Of the last view: (side, side), 0..1."""
        cut = self.truth[self.correction.window].astype(np.float32)
        return np.asarray(cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def begun(answer: FirstAnswer) -> SimulatedCorrection:
    """As the answer has it."""
    size_hw = answer.truth.shape[0], answer.truth.shape[1]
    features = torch.from_numpy(answer.features.astype(np.float32))
    cells = PictureCells(features, np.ascontiguousarray(answer.pixels), size_hw)
    return SimulatedCorrection(answer.log_odds, cells, np.ascontiguousarray(answer.truth), answer.clicks)


def varied(answer: FirstAnswer, rng: np.random.Generator) -> SimulatedCorrection:
    """Mirrored or not, in other light, and beginning well or badly."""
    log_odds = answer.log_odds.astype(np.float32)
    kind = rng.random()
    if kind < NEARLY_RIGHT:
        log_odds = nearly_right(answer.truth, log_odds.shape, rng)
    elif kind < NEARLY_RIGHT + BLURRED:
        log_odds = log_odds + _noise(log_odds.shape, rng) * rng.uniform(0.5, 3)
    elif kind < NEARLY_RIGHT + BLURRED + NOTHING:
        log_odds = np.full_like(log_odds, NOTHING_LOG_ODDS)
    light = rng.uniform(0.7, 1.3, 3) * rng.uniform(0.8, 1.2) if rng.random() < 0.7 else np.ones(3)
    pixels = np.clip(answer.pixels * light, 0, 255).astype(np.uint8)
    one = replace(answer, log_odds=log_odds.astype(np.float16), pixels=pixels)
    return begun(one if rng.random() < 0.5 else _mirrored(one))


def _mirrored(answer: FirstAnswer) -> FirstAnswer:
    return FirstAnswer(
        answer.log_odds[:, ::-1],
        answer.features[..., ::-1],
        answer.pixels[:, ::-1],
        answer.truth[:, ::-1],
        answer.clicks * np.array([-1, 1], np.float32) + np.array([1, 0], np.float32),
    )


def nearly_right(truth: Mask, size_hw: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """The truth with its rim moved here outwards and there inwards."""
    outwards = [
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5) for side in (truth, ~truth)
    ]
    depth = (outwards[0] - outwards[1]) / (0.05 * np.sqrt(np.count_nonzero(truth)))
    moved = np.clip(depth + _noise(truth.shape, rng) * rng.uniform(1, 4), -1, 1) * rng.uniform(2, 6)
    return np.asarray(cv2.resize(moved.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA))


def _noise(size_hw: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth, of deviation 1, in waves of an eighth to a third of the picture."""
    coarse = rng.standard_normal((int(rng.integers(3, 9)),) * 2).astype(np.float32)
    return np.asarray(cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC))
