"""The training loop, one visible page: settings, model, data, loop (step, log, save). Killed runs resume exactly.

Inside a torch.distributed group each process takes its own pictures of every step and gradients are averaged; the
first process logs and saves.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from xsam_backend.errors import CheckpointError
from xsam_backend.model.segmentor import LEVELS
from xsam_backend.model.xsam import XSam
from xsam_backend.training.batch import AskedPicture, Stage, batch_losses
from xsam_backend.training.grounding import Grounding
from xsam_backend.training.losses import RandomPoints
from xsam_backend.training.sources import QuestionSet

logger = logging.getLogger(__name__)

LOG_EVERY = 25
"""Steps; the log has the mean of each term over them."""


@dataclass(frozen=True)
class LoopSettings:
    """How to train.

    Attributes:
        steps: optimizer steps of the whole run.
        pictures: pictures per step, of all processes together.
        learning_rate: of everything but the trunk; linear warm-up, constant, linear decay to a fiftieth.
        trunk_learning_rate: of the pretrained image encoder; 0 keeps it as it is.
        warmup_steps, decay_steps: see above.
        word_steps: first steps of ``Stage.WORDS``.
        alignment_steps: steps of ``Stage.ALIGNMENT`` after them.
        weight_decay: of matrices; norms, biases and embeddings have none.
        clip_norm: gradients are scaled down to this norm.
        ema: share of the old in the averaged weights, which are what is shipped.
        save_every: steps between checkpoints.
        workers: processes that prepare pictures.
        bf16: autocast to bfloat16.
    """

    steps: int
    pictures: int = 4
    learning_rate: float = 3e-4
    trunk_learning_rate: float = 0.0
    warmup_steps: int = 200
    decay_steps: int = 1000
    word_steps: int = 0
    alignment_steps: int = 0
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    ema: float = 0.998
    save_every: int = 100
    workers: int = 0
    bf16: bool = False

    def rate(self, step: int) -> float:
        """Learning rate of a step, as share of the full one."""
        warm = min((step + 1) / max(self.warmup_steps, 1), 1.0)
        left = min((self.steps - step) / max(self.decay_steps, 1), 1.0)
        return min(warm, 0.02 + 0.98 * max(left, 0.0))

    def stage(self, step: int) -> Stage:
        """What a step is about."""
        if step < self.word_steps:
            return Stage.WORDS
        return Stage.ALIGNMENT if step < self.word_steps + self.alignment_steps else Stage.ALL


def train(model: XSam, data: QuestionSet, settings: LoopSettings, folder: Path) -> XSam:
    """Train in place, going on where ``folder`` left off; returns the model with averaged weights.

    Raises:
        CheckpointError: the folder's state doesn't fit this model.
        ValueError: the pictures of a step can't be shared evenly among the processes.
    """
    if settings.pictures % _processes():
        raise ValueError(f"{settings.pictures} pictures a step can't be shared evenly among {_processes()} processes")
    folder.mkdir(parents=True, exist_ok=True)
    segmentor = model.config.segmentor
    torch.manual_seed(data.seed)  # the heads must start the same in every process
    grounding = Grounding(
        segmentor.hidden_dim,
        segmentor.feature_size,
        LEVELS,
        data.word_ids(),
    ).to(model.device)
    model.language.model.set_attn_implementation("eager")  # tells what it attends to
    both = nn.ModuleDict({"model": model, "grounding": grounding})
    optimizer = torch.optim.AdamW(_groups(both, settings), lr=settings.learning_rate, betas=(0.9, 0.98))
    average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    step = _resume(folder, both, average, optimizer)
    points = RandomPoints(model.device)
    model.train()
    started, seen = time.monotonic(), 0
    totals: dict[str, float] = {}
    for pictures in _batches(data, settings, step):
        if step >= settings.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * settings.rate(step)
        torch.manual_seed((data.seed * 1_000_003 + step) * _processes() + _process())
        with torch.autocast(model.device.type, torch.bfloat16, enabled=settings.bf16):
            losses = batch_losses(model, pictures, points, grounding, stage=settings.stage(step))
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        _average_gradients(both)
        norm = torch.nn.utils.clip_grad_norm_(both.parameters(), settings.clip_norm)
        if torch.isfinite(norm):
            optimizer.step()
            # Early on the average must not hold on to the weights of the start.
            _blend(average, model, min(settings.ema, (step + 1) / (step + 10)))
        else:
            logger.warning("step %d: gradient is not finite, step left out", step)
        step += 1
        if _process() > 0:
            continue
        seen += settings.pictures
        for name, term in [*losses.items(), ("loss", loss), ("norm", norm)]:
            totals[name] = totals.get(name, 0.0) + float(term.detach())
        if step % LOG_EVERY == 0:
            shown = {name: total / LOG_EVERY for name, total in totals.items() if name in _SHOWN}
            shown |= {"step": step, "seconds_per_picture": (time.monotonic() - started) / seen}
            with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps({name: round(value, 4) for name, value in shown.items()}) + "\n")
            logger.info("%s", {name: round(value, 3) for name, value in shown.items()})
            totals.clear()
        if step % settings.save_every == 0:
            _save(folder, both, average, optimizer, step, settings)
    if _process() == 0:
        _save(folder, both, average, optimizer, step, settings)
    model.load_state_dict(average)
    model.language.model.set_attn_implementation("sdpa")
    return model.eval()


_SHOWN = (
    "loss",
    "loss_llm",
    "loss_boxes",
    "loss_cells",
    "loss_words",
    "loss_looks",
    "loss_cls",
    "loss_mask",
    "loss_dice",
    "norm",
)


def _groups(both: nn.Module, settings: LoopSettings) -> list[dict[str, object]]:
    """Parameter groups of model and grounding: matrices and the rest, trunk apart; frozen ones aren't handed in."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in both.named_parameters():
        trunk = name.startswith("model.segmentor_encoder.trunk.")
        if trunk and settings.trunk_learning_rate == 0:
            parameter.requires_grad_(False)
            continue
        plain = parameter.ndim < 2 or "embed" in name or "queries_" in name or name.startswith("model.background")
        groups.setdefault((trunk, plain), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": settings.trunk_learning_rate if trunk else settings.learning_rate,
            "weight_decay": 0.0 if plain else settings.weight_decay,
        }
        for (trunk, plain), parameters in groups.items()
    ]


def _batches(data: QuestionSet, settings: LoopSettings, step: int) -> Iterator[list[AskedPicture]]:
    mine = Subset(data, range(step * settings.pictures + _process(), len(data), _processes()))
    loader = DataLoader(mine, settings.pictures // _processes(), num_workers=settings.workers, collate_fn=list)
    yield from loader


def _processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _process() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _average_gradients(both: nn.Module) -> None:
    """Mean over all processes, in one message. Where no question of a process touched a parameter, it counts as 0."""
    if _processes() == 1:
        return
    trained = [parameter for parameter in both.parameters() if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= _processes()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _blend(average: dict[str, Tensor], model: XSam, share: float) -> None:
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                average[name].lerp_(tensor, 1 - share)


def _save(
    folder: Path,
    both: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    step: int,
    settings: LoopSettings,
) -> None:
    """Weights, averaged weights, optimizer and step in one file that appears whole or not at all."""
    tensors = dict(both.state_dict())
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    owned = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    partial = folder / "state.safetensors.partial"
    save_file(owned, partial, metadata={"step": str(step), "settings": json.dumps(asdict(settings))})
    partial.replace(folder / "state.safetensors")


def _resume(folder: Path, both: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> int:
    """Loads the folder's state into all three, if there is one; the step to go on with."""
    path = folder / "state.safetensors"
    if not path.is_file():
        return 0
    tensors = load_file(path)
    try:
        both.load_state_dict({k: tensors[k] for k in both.state_dict()})
        for name, tensor in average.items():
            tensor.copy_(tensors[f"average.{name}"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a state of this model ({error}); use another folder") from error
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            states.setdefault(int(index), {})[name] = tensor
    current = optimizer.state_dict()
    if len(states) == sum(len(group["params"]) for group in current["param_groups"]):
        optimizer.load_state_dict({"state": states, "param_groups": current["param_groups"]})
    else:
        logger.warning("%s: other parameters were trained before; the optimizer starts anew", path)
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])
