"""The training of ``click_refiner``: many objects are corrected side by side, and each click is a lesson.

What the refiner adds after one click is where the next one begins, so it learns from the masks that it makes itself
(as RITM does, arXiv 2102.06583). Gradients don't reach back past a click. Pictures are drawn, then their objects:
else a picture of hundreds would be most of what is learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from xsam_backend.errors import DatasetError
from xsam_backend.model.click_corrections import LIMIT
from xsam_backend.model.click_refiner import SIDE, ClickRefiner
from xsam_backend.training.clicks.first_answers import LEAST_PX, FirstAnswer
from xsam_backend.training.clicks.simulated import SimulatedCorrection, begun, varied
from xsam_backend.training.state import State, read_state, write_state
from xsam_backend.whole_files import write_whole

AFTER_KERNEL = 4
"""Channel of a view: log odds after the kernel, over LIMIT."""

CONTENT = 0.93
"""The simulated annotator is, with this IoU; and is called away now and then, or tired of it."""

CALLED_AWAY = 0.1
MOST_CLICKS = 14


@dataclass(frozen=True)
class ClickTraining:
    """How long, how fast.

    Attributes:
        steps: of the optimizer.
        at_once: objects that are corrected side by side.
        learning_rate: the highest; it rises over ``warmup`` steps and falls as a cosine.
        averaged: share of the weights' average that a step keeps.
        save_every: steps between states and measures.
    """

    steps: int = 3000
    at_once: int = 16
    learning_rate: float = 2e-3
    warmup: int = 100
    averaged: float = 0.998
    save_every: int = 250
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        warm = min((step + 1) / max(self.warmup, 1), 1.0)
        return self.learning_rate * warm * (1 + math.cos(math.pi * step / self.steps)) / 2


def train_refiner(
    pictures: Sequence[Sequence[FirstAnswer]],
    run: Path,
    settings: ClickTraining,
    on_saved: Callable[[int, ClickRefiner, float], None],
) -> ClickRefiner:
    """The averaged refiner. Goes on where the run's folder has a state; objects are begun anew then.

    Args:
        pictures: the first answers of each picture that is learned from.
        on_saved: is told the step, the averaged refiner, and the mean loss since it was told before.

    Raises:
        CheckpointError: the state is damaged or can't be written.
        DatasetError: no picture has objects.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    refiner, average = ClickRefiner(), ClickRefiner()
    average.load_state_dict(refiner.state_dict())
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=settings.learning_rate, weight_decay=1e-2)
    state = read_state(run)
    first = 0 if state is None else _restore(state, refiner, average, optimizer)
    usable = [answers for answers in pictures if answers]
    if not usable:
        raise DatasetError(f"no object of at least {LEAST_PX} pixels to learn from: give more pictures")
    at_work: list[SimulatedCorrection | None] = [None] * settings.at_once
    losses: list[float] = []
    for step in range(first, settings.steps):
        rng = np.random.default_rng([settings.seed, step])
        clicked = [_clicked(one, usable, rng) for one in at_work]
        at_work = list(clicked)
        views = torch.from_numpy(np.stack([one.correction.view() for one in clicked]))
        truth = torch.from_numpy(np.stack([one.seen_truth(SIDE) for one in clicked]))
        added = refiner(views)
        loss = mask_loss(views[:, AFTER_KERNEL] * LIMIT + added, truth)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(refiner.parameters(), 1.0)
        optimizer.step()
        # Early on the average must not hold on to the weights of the start.
        kept = min(settings.averaged, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(refiner.parameters()), 1 - kept)
        for one, more in zip(clicked, added.detach().numpy(), strict=True):
            one.correction.add(more)
        losses.append(loss.item())
        if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
            write_state(run, _collected(step + 1, refiner, average, optimizer))
            on_saved(step + 1, average.eval(), float(np.mean(losses)))
            losses = []
    return average.eval()


def mask_loss(log_odds: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy and soft IoU, each a mean over (B, SIDE, SIDE); ``truth`` is 0..1."""
    entropy = F.binary_cross_entropy_with_logits(log_odds, truth)
    sure = log_odds.sigmoid()
    both = (sure * truth).sum((1, 2))
    union = (sure + truth - sure * truth).sum((1, 2)).clamp(min=1)
    return entropy + (1 - both / union).mean()


def export_refiner(refiner: ClickRefiner, path: Path) -> None:
    """Weights as they ship, float16; whole or not there.

    Raises:
        OSError: they can't be written.
    """
    write_whole(path, save({name: tensor.half().contiguous() for name, tensor in refiner.state_dict().items()}))


def traces(
    refiner: ClickRefiner, answers: Sequence[FirstAnswer], most_clicks: int, content_iou: float
) -> list[list[float]]:
    """IoU after the first hint, then after each click in the middle of the largest error, for each object."""
    found: list[list[float]] = []
    for answer in answers:
        simulated = begun(answer)
        trace = [simulated.iou]
        while trace[-1] < content_iou and len(trace) < most_clicks and simulated.click():
            simulated.correction.refine(refiner)
            trace.append(simulated.iou)
        found.append(trace)
    return found


def _clicked(
    one: SimulatedCorrection | None, pictures: Sequence[Sequence[FirstAnswer]], rng: np.random.Generator
) -> SimulatedCorrection:
    """The same object with one more click, or another one with its first."""
    if one is not None:
        is_content = len(one.clicks) >= MOST_CLICKS or one.iou >= CONTENT
        if not is_content and rng.random() > CALLED_AWAY and one.click(rng):
            return one
    while True:
        answers = pictures[int(rng.integers(len(pictures)))]
        another = varied(answers[int(rng.integers(len(answers)))], rng)
        if another.click(rng):
            return another


def _collected(step: int, refiner: ClickRefiner, average: ClickRefiner, optimizer: torch.optim.Optimizer) -> State:
    tensors = {f"refiner.{name}": tensor for name, tensor in refiner.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in moments.items()}
    return State(tensors, {"step": step})


def _restore(state: State, refiner: ClickRefiner, average: ClickRefiner, optimizer: torch.optim.Optimizer) -> int:
    """The step that it goes on with."""
    parts: dict[str, dict[str, Tensor]] = {"refiner": {}, "average": {}, "optimizer": {}}
    for name, tensor in state.tensors.items():
        part, own = name.split(".", 1)
        parts[part][own] = tensor
    refiner.load_state_dict(parts["refiner"])
    average.load_state_dict(parts["average"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, key = name.split(".", 1)
        moments.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return int(state.facts["step"])
