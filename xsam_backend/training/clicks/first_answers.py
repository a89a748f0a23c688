"""What a model makes of the first hint at objects of a training set: where the correction by clicks begins.

Each picture is encoded once; what is kept of it is about two megabytes, so that a training of hours has it in memory
instead of asking the model again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.records import Record
from xsam_backend.evaluation.simulated_prompts import centre_click, jittered_box, random_click, scribble
from xsam_backend.geometry.masks import Mask
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.model.pointing import FirstLook
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.query_worth import picture_part
from xsam_backend.prompts import Point, Prompt, Region, Task
from xsam_backend.whole_files import write_whole

OBJECTS_PER_PICTURE = 5
LEAST_PX = 700
"""Outlines of smaller objects are too coarse to tell a good correction from a bad one."""

COMPONENTS = 16
"""Of the decoder's features so many principal components are kept: distances hardly change."""

BOXES, SCRIBBLES = 0.3, 0.2
"""So often an object's second hint is one of those, else a click on it. The first is a click in its middle."""


@dataclass(frozen=True, eq=False)
class FirstAnswer:
    """One object, after the first hint, in the window that the model looked at last.

    Attributes:
        log_odds: float16 (h, w), above 0 inside the mask.
        features: float16 (COMPONENTS, h, w).
        pixels: uint8 (rows, columns, 3), the window's, one for each cell that is corrected.
        truth: bool (rows, columns).
        clicks: float32 (N, 2), x and y of the first hint's clicks, 0..1 of the window; none for a box or a stroke.
    """

    log_odds: NDArray[np.float16]
    features: NDArray[np.float16]
    pixels: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    clicks: NDArray[np.float32]


def first_answers(predictor: Predictor, record: Record, rng: np.random.Generator) -> list[FirstAnswer]:
    """Of some objects of a picture, each hinted at in two ways: a click in its middle, then another hint.

    Raises:
        DatasetError: the picture can't be read.
    """
    truth = record.load()
    chosen = rng.permutation(_usable(truth))[:OBJECTS_PER_PICTURE]
    if not len(chosen):
        return []
    state = predictor.encode(truth.image)
    found: list[FirstAnswer] = []
    for index in chosen.tolist():
        mask = truth.masks[index]
        for hint in (centre_click(mask), _other_hint(mask, rng)):
            prompt = Prompt(Task.INTERACTIVE, (hint,), label=truth.names[index], score_threshold=0.0)
            seen = predictor.first_look(state, prompt)
            found.append(_answer(seen, mask[seen.window]))
    return found


def _usable(truth: GroundTruth) -> NDArray[np.int64]:
    areas = truth.masks.sum((1, 2)) if len(truth.masks) else np.zeros(0)
    return np.flatnonzero((areas >= LEAST_PX) & truth.is_thing & ~truth.is_crowd)


def _other_hint(mask: Mask, rng: np.random.Generator) -> Region:
    kind = rng.random()
    if kind < BOXES:
        return jittered_box(mask, rng)
    return scribble(mask, rng) if kind < BOXES + SCRIBBLES else random_click(mask, rng)


def _answer(seen: FirstLook, truth: Mask) -> FirstAnswer:
    """Args: truth: bool (H, W) of the window."""
    frame = seen.state.frame
    own = picture_part(seen.log_odds[None].float(), frame)[0].cpu().numpy()
    cells = seen.state.cells.get()
    covered = cv2.resize(truth.astype(np.float32), cells.size_hw[::-1], interpolation=cv2.INTER_AREA)
    height, width = frame.size_hw
    clicks = [(one.x_px / width, one.y_px / height) for one in seen.regions if isinstance(one, Point)]
    return FirstAnswer(
        own.astype(np.float16),
        _reduced(cells.features).cpu().numpy().astype(np.float16),
        np.asarray(cv2.resize(seen.state.pixels, cells.size_hw[::-1], interpolation=cv2.INTER_AREA)),
        covered > 0.5,
        np.array(clicks, np.float32).reshape(-1, 2),
    )


def _reduced(features: Tensor) -> Tensor:
    """(C, h, w) to (COMPONENTS, h, w); fewer where C is less."""
    cells = features.flatten(1).T
    _, _, directions = torch.linalg.svd(cells.T @ cells)
    reduced: Tensor = (cells @ directions[:COMPONENTS].T).T.reshape(-1, *features.shape[1:])
    return reduced


def save_answers(path: Path, answers: Sequence[FirstAnswer]) -> None:
    """In one file, whole or not there.

    Raises:
        OSError: it can't be written.
    """
    tensors = {
        f"{number}.{name}": np.ascontiguousarray(array)
        for number, answer in enumerate(answers)
        for name, array in vars(answer).items()
    }
    write_whole(path, save(tensors))


def load_answers(path: Path) -> list[FirstAnswer]:
    """What ``save_answers`` wrote.

    Raises:
        DatasetError: the file is damaged.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        advice = "delete it to ask the model again"
        raise DatasetError(f"{path}: expected first answers, got {error!r}; {advice}") from error
    names = [field.name for field in fields(FirstAnswer)]
    count = len(tensors) // len(names)
    return [FirstAnswer(**{name: tensors[f"{number}.{name}"] for name in names}) for number in range(count)]


def asked_pictures(predictor: Predictor, records: Sequence[Record], folder: Path, seed: int) -> Iterator[Path]:
    """Ask the model about each picture; the files that come about in the folder. What is there isn't asked again.

    Raises:
        DatasetError: a picture can't be read.
    """
    for number, record in enumerate(records):
        path = folder / f"{number:06d}.safetensors"
        if not path.is_file():
            save_answers(path, first_answers(predictor, record, np.random.default_rng([seed, number])))
        yield path
