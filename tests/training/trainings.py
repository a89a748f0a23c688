"""Trainings that take seconds: small models, one drawn square or small scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from small_models import small_config, tokenizer

from xsam_backend.ground_truth import GroundTruth
from xsam_backend.prompts import Task
from xsam_backend.training.batch import AskedPicture
from xsam_backend.training.config import TrainConfig
from xsam_backend.training.sources import Part, QuestionSet, told_words

WHOLE = (
    "segmentor_encoder",
    "visual_projector",
    "seg_projector",
    "language",
    "llm_projector",
    "connector",
    "segmentor",
)
"""Everything that a small model with shared encoders has."""

QUICK: Mapping[str, Any] = {
    "name": "all",
    "kind": "mixed",
    "trains": WHOLE,
    "grounding": True,
    "steps": 4,
    "pictures": 1,
    "learning_rate": 1e-3,
    "trunk_learning_rate": 0.0,
    "warmup_steps": 2,
    "decay_steps": 2,
}


def training(run: Path, *stages: Mapping[str, Any], **settings: Any) -> TrainConfig:
    """A config of these stages, each what it says over ``QUICK``; without any, one ``QUICK`` stage."""
    scenes = {"name": "scenes", "kind": "scenes", "share": 1.0, "questions": {"interactive": 1.0}}
    content = {
        "run": run,
        "save_every": 2,
        "log_every": 1,
        "data": [scenes],
        "stages": [{**QUICK, **stage} for stage in stages or ({},)],
        **settings,
    }
    return TrainConfig.model_validate(content)


class Square:
    """Always the same picture: a white square on black."""

    names: Sequence[str] = ("square",)

    def draw(self, rng: np.random.Generator) -> GroundTruth:
        mask = np.zeros((64, 64), bool)
        mask[16:48, 8:32] = True
        image = np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, 2)
        return GroundTruth(image, mask[None], ("square",), np.ones(1, bool), np.zeros(1, bool))


class Stream(QuestionSet):
    """Questions about the square; ``killed_at`` a picture's number ends the process, as far as the loop can tell."""

    def __init__(self, killed_at: int | None = None, seed: int = 0, mix: Mapping[Task, float] | None = None) -> None:
        parts = [Part(Square(), 1.0, mix or {Task.INTERACTIVE: 1})]
        super().__init__(parts, small_config(), tokenizer(), seed, 10, told_words([Square()]))
        self.killed_at = killed_at
        self.asked: list[int] = []

    def __getitem__(self, index: int) -> AskedPicture:
        if index == self.killed_at:
            raise KeyboardInterrupt
        self.asked.append(index)
        return super().__getitem__(index)
