"""The refiner's training, from folders of labelled pictures to weights: asks the model, trains, measures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from xsam_backend.evaluation.correction import MOST_CLICKS, TARGET_IOUS, clicks_needed, mean_iou_by_clicks
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.model.click_refiner import ClickRefiner
from xsam_backend.model.predictor import Predictor
from xsam_backend.training.clicks.first_answers import FirstAnswer, asked_pictures, load_answers
from xsam_backend.training.clicks.training import ClickTraining, traces, train_refiner
from xsam_backend.training.tiny import TUNING_EVERY

logger = logging.getLogger(__name__)

SHOWN = (1, 2, 3, 5, 10)
"""Numbers of clicks whose mean IoU is logged."""


def train_on_folders(
    predictor: Predictor, folders: Sequence[Path], run: Path, settings: ClickTraining
) -> ClickRefiner:
    """The trained refiner; every tenth picture of each folder is only measured on.

    Raises:
        DatasetError: a folder or a picture can't be read, or has no objects.
        CheckpointError: the run's state is damaged, or can't be written.
    """
    learned: list[list[FirstAnswer]] = []
    tuned_on: list[FirstAnswer] = []
    # Another model's answers are of no use, and folders may have the same name.
    asked = run / f"answers-{predictor.model_version}"
    for place, folder in enumerate(folders):
        records = open_dataset(folder, split="train").records
        paths = asked_pictures(predictor, records, asked / f"{place}-{folder.name}", settings.seed)
        for number, path in enumerate(tqdm(paths, desc=f"first answers, {folder.name}", total=len(records))):
            if number % TUNING_EVERY:
                learned.append(load_answers(path))
            else:
                tuned_on += load_answers(path)[::2]  # those to a click in the middle
    _log_measure(0, ClickRefiner().eval(), tuned_on)

    def on_saved(step: int, refiner: ClickRefiner, loss: float) -> None:
        logger.info("step %d of %d: loss %.3f", step, settings.steps, loss)
        _log_measure(step, refiner, tuned_on)

    return train_refiner(learned, run, settings, on_saved)


def _log_measure(step: int, refiner: ClickRefiner, answers: Sequence[FirstAnswer]) -> None:
    """Clicks to each target, and the mean IoU after some clicks; never there counts as all."""
    if not answers:
        return
    found = traces(refiner, answers, MOST_CLICKS, TARGET_IOUS[-1])
    needed = {
        target: float(np.mean([clicks_needed(trace, target) or MOST_CLICKS for trace in found]))
        for target in TARGET_IOUS
    }
    means = mean_iou_by_clicks(found)
    logger.info(
        "after step %d, %d objects: %s; IoU by clicks %s",
        step,
        len(found),
        ", ".join(f"{clicks:.2f} clicks to {target:.0%}" for target, clicks in needed.items()),
        ", ".join(f"{count}: {means[count - 1]:.3f}" for count in SHOWN),
    )
