"""The training loop, one visible page: stage after stage; in each step, log, save. Killed runs resume exactly.

A stage is an optimizer and a schedule of its own over some parts of the model. What it leaves, its averaged weights,
is what the next one starts from. Pictures come by their number and random draws are seeded by step: a run that
goes on has the losses that it would have had.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from xsam_backend.errors import CheckpointError, SettingsError, XSamBackendError
from xsam_backend.model.segmentor import LEVELS
from xsam_backend.model.xsam import XSam
from xsam_backend.training import processes
from xsam_backend.training.batch import AskedPicture, batch_losses
from xsam_backend.training.config import StageConfig, TrainConfig
from xsam_backend.training.features import KeptFeatures
from xsam_backend.training.grounding import Grounding
from xsam_backend.training.looking import LOOKED_AT, begin_looking, looking_words
from xsam_backend.training.losses import RandomPoints
from xsam_backend.training.passes import Passes
from xsam_backend.training.patience import Patience
from xsam_backend.training.resuming import Live, collect, place_in, restore, restore_weights
from xsam_backend.training.run_log import RunLog
from xsam_backend.training.sources import QuestionSet
from xsam_backend.training.state import State, read_state, write_state
from xsam_backend.training.trained import GROUNDING, MODEL, parameter_groups, trained_names

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LEAST_RATE = 0.02
"""Share of the full learning rate at which a straight decay ends."""


def train(
    model: XSam,
    config: TrainConfig,
    streams: Sequence[QuestionSet],
    start: str = "",
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> XSam:
    """Train in place, going on where the run's folder left off; returns the model with averaged weights.

    Args:
        model: as it starts; float32, on the device to train on.
        config: what to do; its folder gets state and log.
        streams: the questions of each stage.
        start: which weights the model started with: a state doesn't hold those that were never trained.
        on_step: is told after each step how many are done, of how many; what it raises ends the training.

    Raises:
        CheckpointError: the folder's state is damaged, or doesn't fit this model or these stages.
        SettingsError: a stage that can't be trained with this model, device or number of processes.
    """
    try:
        config.run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"run: {config.run} can't be made ({error}): name another folder") from error
    both = _both(model, config, streams[0])
    ever_trained: list[str] = []
    for stage in config.stages:
        _refuse_unfit(stage, model)
        ever_trained += trained_names(both, model.config, stage, config.lora)
    state = read_state(config.run)
    at, first = place_in(state, config) if state else (0, 0)
    processes.refuse_unlike(f"the place where the run goes on (stage {at}, step {first})", (at, first), model.device)
    if state is not None:
        restore_weights(both, state, config, start)
    done = sum(stage.steps for stage in config.stages[:at]) + first
    total = sum(stage.steps for stage in config.stages)
    begun = state.facts.get("log") if state else None
    log = RunLog(config.run, config.log_every, done, total, begun, config.tensorboard) if _is_first() else None
    with log or nullcontext():
        for number in range(at, len(config.stages)):
            before = sum(stage.steps for stage in config.stages[:number])
            _train_stage(
                both,
                config,
                number,
                streams[number],
                first,
                state,
                log,
                start,
                partial(_told, on_step, before, total),
            )
            first, state = 0, None
    processes.wait()  # the last state is written
    return model.eval()


def _train_stage(
    both: nn.ModuleDict,
    config: TrainConfig,
    number: int,
    stream: QuestionSet,
    first: int,
    state: State | None,
    log: RunLog | None,
    start: str,
    on_step: Callable[[int], None],
) -> None:
    """One stage, from step ``first`` on, which ``state`` has; leaves the averaged weights in the model."""
    stage = config.stages[number]
    seed = config.seed_of(number)
    model = cast(XSam, both[MODEL])
    grounding = cast(Grounding, both[GROUNDING]) if stage.grounding else None
    if stage.new_language and first == 0 and stage.steps:
        torch.manual_seed(seed)
        begin_looking(model, *looking_words(stream.tokenizer), [stream[index] for index in range(LOOKED_AT)])
    processes.share_weights(both)
    # Only this one tells what it attends to.
    model.language.model.set_attn_implementation("eager" if stage.grounding else "sdpa")
    # One tensor after the other: on a GPU, all at once would take as much memory again as what is trained.
    optimizer = torch.optim.AdamW(
        parameter_groups(both, model.config, stage, config.lora),
        lr=stage.learning_rate,
        betas=stage.betas,
        foreach=False,
    )
    parameters = {name: parameter for name, parameter in both.named_parameters() if parameter.requires_grad}
    average = {name: p.detach().clone() for name, p in parameters.items() if stage.ema and name.startswith(MODEL)}
    scaler = torch.amp.GradScaler(model.device.type, enabled=stage.precision == "fp16")
    live = Live(both, parameters, average, optimizer, scaler, Patience(stage.patience))
    if state is not None and first > 0:
        restore(live, state)
    points = RandomPoints(model.device)
    kept = None
    if config.features_mb and not stage.trains_encoders:
        kept = KeptFeatures(config.run, config.features_mb * 2**20)

    def begin(step: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.manual_seed((seed * 1_000_003 + step) * processes.count() + processes.number())

    def terms(pictures: Sequence[AskedPicture]) -> dict[str, Tensor]:
        with torch.autocast(model.device.type, DTYPES[stage.precision], enabled=stage.precision != "float32"):
            return batch_losses(model, pictures, points, grounding, kind=stage.kind, kept=kept)

    runner = Passes(terms, scaler)
    model.train()
    for step, passes in enumerate(_steps(stream, stage, first, config.workers), first):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate(stage, step)
        losses = runner.run(passes, partial(begin, step))
        processes.average_gradients(list(parameters.values()))
        touched = [parameter for parameter in parameters.values() if parameter.grad is not None]
        norm = torch.zeros(())
        if touched:
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(touched, stage.clip_norm)
            if torch.isfinite(norm):
                scaler.step(optimizer)
                # Early on the average must not hold on to the weights of the start.
                _blend(average, parameters, min(stage.ema, (step + 1) / (step + 10)))
            elif not scaler.is_enabled() or scaler.get_scale() <= 1:  # now and then a scaled one may be too large
                logger.warning("step %d of '%s': gradient is not finite, step left out", step, stage.name)
            scaler.update()
        shown = _shown(losses, norm)
        ends_early = stage.patience > 0 and live.patience.is_over(
            processes.mean(shown.get("loss", math.nan), model.device)
        )
        done = stage.steps if ends_early else step + 1
        last = done == stage.steps
        if log is not None:
            log.add(stage.name, shown, rate(stage, step) * stage.learning_rate, stage.pictures, last)
            if ends_early:
                log.skip(stage.steps - step - 1)
                logger.info("stage '%s' ends after step %d: its loss doesn't fall any more", stage.name, step + 1)
            if last or (step + 1) % config.save_every == 0:
                write_state(config.run, collect(live, config, number, done, start, log.unfinished))
        on_step(done)
        if ends_early:
            break
    with torch.no_grad():
        for name, tensor in average.items():
            parameters[name].copy_(tensor)
    model.language.model.set_attn_implementation("sdpa")


def _told(on_step: Callable[[int, int], None], before: int, total: int, step: int) -> None:
    on_step(before + step, total)


def rate(stage: StageConfig, step: int) -> float:
    """Learning rate of a stage's step, as share of the full one: rising, full, falling."""
    warm = min((step + 1) / max(stage.warmup_steps, 1), 1.0)
    left = min(max((stage.steps - step) / max(stage.decay_steps, 1), 0.0), 1.0)
    if stage.decay == "cosine":
        return min(warm, (1 - math.cos(math.pi * left)) / 2)
    return min(warm, LEAST_RATE + (1 - LEAST_RATE) * left)


def _both(model: XSam, config: TrainConfig, stream: QuestionSet) -> nn.ModuleDict:
    """The model and, if a stage needs them, grounding's heads."""
    both = nn.ModuleDict({MODEL: model})
    if any(stage.grounding for stage in config.stages):
        sizes = model.config.segmentor
        torch.manual_seed(config.seed)
        both[GROUNDING] = Grounding(sizes.hidden_dim, sizes.feature_size, LEVELS, stream.word_ids()).to(model.device)
    return both


def _refuse_unfit(stage: StageConfig, model: XSam) -> None:
    passes = processes.count() * stage.accumulate
    if stage.pictures % passes:
        raise SettingsError(
            f"stage '{stage.name}': {stage.pictures} pictures a step can't be shared evenly among {passes} passes "
            f"({processes.count()} processes, accumulate = {stage.accumulate})"
        )
    if stage.precision == "fp16" and model.device.type != "cuda":
        raise SettingsError(f"stage '{stage.name}': fp16 is for GPUs, this is {model.device}: take bf16 or float32")
    if stage.new_language and model.config.language["model_type"] != "phi3":
        raise SettingsError(
            f"stage '{stage.name}': new_language knows Phi-3's layers only, got {model.config.language['model_type']}"
        )


def _steps(
    stream: QuestionSet, stage: StageConfig, first: int, workers: int
) -> Iterator[Iterator[list[AskedPicture]]]:
    """Of each step from ``first`` on, this process's pictures, pass by pass."""
    mine = Subset(
        stream, range(first * stage.pictures + processes.number(), stage.steps * stage.pictures, processes.count())
    )
    loader = DataLoader(
        _Told(mine, len(mine)),
        stage.pictures // (processes.count() * stage.accumulate),
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=_share_by_name,
    )
    if workers:
        _share_by_name()
    batches = map(_pictures, loader)
    for _ in range(first, stage.steps):
        yield islice(batches, stage.accumulate)


def _share_by_name(_worker: int = 0) -> None:
    """Tensors travel between processes by name, not as an open file each.

    A large step with many questions would need more open files than a process may have: the loader would hang.
    """
    torch.multiprocessing.set_sharing_strategy("file_system")


class _Told(Dataset[AskedPicture | XSamBackendError]):
    """Hands our errors on as they are: a DataLoader would put its worker's traceback into the message."""

    def __init__(self, pictures: Dataset[AskedPicture], count: int) -> None:
        self.pictures, self.count = pictures, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> AskedPicture | XSamBackendError:
        try:
            return self.pictures[index]
        except XSamBackendError as error:
            return error


def _pictures(batch: Sequence[AskedPicture | XSamBackendError]) -> list[AskedPicture]:
    for one in batch:
        if isinstance(one, XSamBackendError):
            raise one
    return cast(list[AskedPicture], batch)


def _blend(average: dict[str, Tensor], parameters: dict[str, nn.Parameter], share: float) -> None:
    if average:
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), [parameters[name] for name in average], 1 - share)


def _shown(losses: dict[str, Tensor], norm: Tensor) -> dict[str, float]:
    """Losses to log, without those of single decoder layers, and the sum of all; from the device in one go.

    The norm of a step that was left out would make a mean of many steps infinite: it isn't shown.
    """
    if not losses:
        return {}
    loss = torch.stack(list(losses.values())).sum()
    named = {"loss": loss, **losses, "norm": norm}
    values = torch.stack([value.float().to(loss.device) for value in named.values()]).tolist()
    shown = {name: value for name, value in zip(named, values, strict=True) if not re.search(r"_\d+$", name)}
    return {name: value for name, value in shown.items() if name != "norm" or math.isfinite(value)}


def _is_first() -> bool:
    return processes.number() == 0
