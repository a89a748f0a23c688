"""How a fine-tuning trains: a training's config made for a project, from 5 labelled pictures to 50,000.

Three in five pictures are the project's. The others rehearse what the model could do before: drawn scenes, which
every task can be asked about, and a few photographs, where it learns to answer clicks as the base does. The
projectors, the connector and the conditions' embeddings are trained in full, language model and decoder by low-rank
pairs; image encoders stay as they are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from xsam_backend.learning import rehearsed_photographs
from xsam_backend.training.config import TrainConfig

PROJECT, SCENES, PHOTOGRAPHS = "project", "scenes", "photographs"
"""The parts of the data."""

SHARES = {PROJECT: 0.6, SCENES: 0.27, PHOTOGRAPHS: 0.13}
"""How often each part's pictures come."""

SEEN_AGAIN = 4
"""Where encoders are large, each view of a picture is seen about so often, and what they make of it is kept."""

FEATURES_MB = 20_000

SMALL = 100_000_000
"""Models of fewer parameters learn with the small model's numbers."""

SHARE_OF_THE_WAY = 0.5
"""From the weights that a training begins with to those that it ends with; see ``model.delta.part_way``. The language
model goes all the way: it keeps what new words mean, and costs little of what others are found by."""

PATIENCE = 400
"""Steps without a falling loss that end a training early. Small projects' trainings are shorter than that."""

MOST_STEPS = 2000


def share_of_the_way(name: str) -> float:
    """Of one parameter, by its name."""
    return 1.0 if name.startswith("language.") else SHARE_OF_THE_WAY


FULL_RATE_SHARE = 0.3
"""Share of a version's steps at the full learning rate; from there it falls. A fold's training is these steps."""


def steps_for(pictures: int) -> int:
    """Steps for so many of the project's pictures: more for more, but ever less for each.

    >>> [steps_for(count) for count in (5, 20, 80, 50_000)]
    [80, 161, 322, 2000]
    """
    return min(round(36 * math.sqrt(pictures)), MOST_STEPS)


def fold_steps(steps: int) -> int:
    """Of so many steps of a version's training, those that a fold's consists of.

    >>> [fold_steps(count) for count in (161, 1)]
    [49, 1]
    """
    return math.ceil(FULL_RATE_SHARE * steps)


def recipe(
    run: Path,
    snapshot: Path,
    start: str,
    *,
    photographs: Path,
    steps: int,
    parameters: int,
    seed: int,
    float32: bool = True,
    is_fold: bool = False,
    **changes: Any,
) -> TrainConfig:
    """The config of one training.

    Args:
        run: folder of its state and log.
        snapshot: what the project gives.
        start: the base model, a name or folder.
        photographs: what the base answers on those; see ``rehearsed_photographs``.
        steps: of the version; see ``steps_for``.
        parameters: of the base model; the rate and the batch depend on it.
        float32: whether the base model is; others, and large ones, are trained in mixed precision.
        is_fold: only the beginning of a version's training, at the full rate: with the fold's state in its folder,
            the version's own goes on from there.
        changes: other values of the config's keys, or of its one stage.
    """
    small = parameters < SMALL
    stage: dict[str, Any] = {
        "name": "fine-tuning",
        "kind": "mixed",
        "trains": ["visual_projector", "seg_projector", "language", "llm_projector", "connector", "segmentor"],
        "steps": fold_steps(steps) if is_fold else steps,
        "pictures": 3 if small else 4,
        "accumulate": 1 if small else 4,
        "learning_rate": 5e-4 if small else 4e-5,
        "warmup_steps": min(20, steps // 4),
        "decay_steps": 1 if is_fold else max(steps - fold_steps(steps), 1),
        "ema": 0.98,
        "patience": PATIENCE,
        "precision": "float32" if small and float32 else "bf16",
    }
    views = 0 if small else max(round(steps * stage["pictures"] * SHARES[PROJECT] / SEEN_AGAIN), 1)
    content = {
        "run": run,
        "start": start,
        "seed": seed,
        "save_every": 25,
        "log_every": 10,
        "tensorboard": True,
        "features_mb": FEATURES_MB if views else 0,
        "lora": {"parts": ["language", "segmentor"], "rank": 16, "alpha": 32},
        "data": [
            {
                "name": PROJECT,
                "kind": "dataset",
                "path": snapshot,
                "format": "snapshot",
                "share": SHARES[PROJECT],
                "views": views,
                "pointed_at": "all objects",
                "questions": {"interactive": 2.2, "generic": 1.4, "vgd": 2.2, "referring": 0.6, "gcg": 0.6},
            },
            {
                "name": SCENES,
                "kind": "scenes",
                "share": SHARES[SCENES],
                "views": views,
                "questions": {
                    "interactive": 1.5,
                    "generic": 0.8,
                    "vgd": 1.4,
                    "referring": 1.4,
                    "reasoning": 0.2,
                    "gcg": 0.3,
                    "conversation": 0.2,
                },
            },
            {
                "name": PHOTOGRAPHS,
                "kind": "dataset",
                "path": photographs,
                "format": "coco",
                "images": rehearsed_photographs.PHOTOGRAPHS,
                "share": SHARES[PHOTOGRAPHS],
                "views": views,
                "questions": {"interactive": 3},
            },
        ],
    }
    of_stage = {key: value for key, value in changes.items() if key in stage}
    of_config = {key: value for key, value in changes.items() if key not in stage}
    return TrainConfig.model_validate({**content, **of_config, "stages": [{**stage, **of_stage}]})
