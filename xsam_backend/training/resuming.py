"""From a running stage to a state and back: where it was, weights, averages, optimizer, loss scale, the log's sums.

A state holds what the stages up to now have trained; what they left alone comes from the model that the run started
with. Random numbers need no place in it: they are seeded by step.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xsam_backend.errors import CheckpointError
from xsam_backend.model.xsam import XSam
from xsam_backend.training import processes
from xsam_backend.training.config import TrainConfig
from xsam_backend.training.patience import Patience
from xsam_backend.training.state import STATE, State
from xsam_backend.training.trained import GROUNDING, MODEL, trained_names

logger = logging.getLogger(__name__)

DECISIVE = {"seed", "least_px", "oversample", "data", "stages", "lora"}
"""Settings on which the losses depend."""


@dataclass(frozen=True)
class Live:
    """A stage while it runs.

    Attributes:
        both: model and grounding's heads.
        parameters: what is optimized, by name.
        average: the averaged weights of the model's among them; empty without.
        optimizer, scaler: theirs.
        patience: what is known of the loss.
    """

    both: nn.ModuleDict
    parameters: Mapping[str, nn.Parameter]
    average: Mapping[str, Tensor]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    patience: Patience


def collect(live: Live, config: TrainConfig, number: int, step: int, start: str, log: Mapping[str, Any]) -> State:
    """The state after ``step`` steps of a stage."""
    here = dict(live.both.named_parameters())
    tensors = {name: here[name].detach() for name in _trained_until(live.both, config, number)}
    tensors |= {name.replace(MODEL, "average", 1): tensor for name, tensor in live.average.items()}
    for index, state in live.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    facts = {
        "step": sum(stage.steps for stage in config.stages[:number]) + step,
        "stage": config.stages[number].name,
        "step_of_stage": step,
        "start": start,
        "optimized": list(live.parameters),
        "scaler": live.scaler.state_dict(),
        "patience": live.patience.as_json(),
        "log": log,
        "processes": processes.count(),
        "config": config.model_dump(mode="json"),
        "model": _sizes(live.both),
    }
    return State(tensors, facts)


def place_in(state: State, config: TrainConfig) -> tuple[int, int]:
    """Number of the stage that a state is in, and how many of its steps are done.

    A stage is known by its name, so that stages may be given more or fewer steps, or be added, while a run stands.

    Raises:
        CheckpointError: the config has no such stage.
    """
    names = [stage.name for stage in config.stages]
    if "stage" not in state.facts:  # an older one, which counted over all stages
        left = state.facts["step"]
        for number, stage in enumerate(config.stages):
            if left <= stage.steps or number + 1 == len(config.stages):
                return number, left
            left -= stage.steps
    if state.facts["stage"] not in names:
        raise CheckpointError(
            f"{config.run / STATE} is in stage '{state.facts['stage']}', the config has {', '.join(names)}: "
            "name a stage so, or take another folder (run)"
        )
    return names.index(state.facts["stage"]), state.facts["step_of_stage"]


def restore_weights(both: nn.ModuleDict, state: State, config: TrainConfig, start: str) -> None:
    """Put the state's weights into model and heads, and say what is no more as it was.

    Raises:
        CheckpointError: they don't fit, or belong to a run that started from another model.
    """
    path = config.run / STATE
    began = state.facts.get("start", start)
    if began != start:
        raise CheckpointError(f"{path} began with {began}, this run begins with {start}: take another folder (run)")
    weights = {name: t for name, t in state.tensors.items() if name.startswith((f"{MODEL}.", f"{GROUNDING}."))}
    needed = _trained_until(both, config, place_in(state, config)[0])
    missing = [name for name in needed if name not in weights]
    if missing and "stage" in state.facts:
        logger.warning("%s: %s are trained only now: they start as the model came", path, _few(missing))
    try:
        unknown = both.load_state_dict(weights, strict=False).unexpected_keys
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not a state of this model ({error}); take another folder (run)") from error
    if unknown:
        raise CheckpointError(
            f"{path}: not a state of this model (it has {_few(unknown)}); take another folder (run)"
        )
    changes = list(_changes(state.facts.get("config", {}), config.model_dump(mode="json"), DECISIVE))
    changes += _changes(state.facts.get("model", {}), _sizes(both), key="model")
    if state.facts.get("processes", processes.count()) != processes.count():
        changes.append(f"processes: {state.facts['processes']} -> {processes.count()}")
    if changes:
        logger.warning("goes on with other settings than before: %s", "; ".join(changes))


def restore(live: Live, state: State) -> None:
    """Put averages, optimizer, loss scale and patience back. An optimizer of other parameters starts anew, and says
    so."""
    for name, tensor in live.average.items():
        saved = state.tensors.get(name.replace(MODEL, "average", 1))
        tensor.copy_(saved if saved is not None else live.parameters[name].detach())
    if state.facts.get("scaler"):
        live.scaler.load_state_dict(state.facts["scaler"])
    live.patience.restore(state.facts.get("patience", {}))
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in state.tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            states.setdefault(int(index), {})[name] = tensor
    current = live.optimizer.state_dict()
    flat = [parameter for group in live.optimizer.param_groups for parameter in group["params"]]
    names = list(live.parameters)
    if state.facts.get("optimized", names) == names and all(
        index < len(flat) and values["exp_avg"].shape == flat[index].shape for index, values in states.items()
    ):
        live.optimizer.load_state_dict({"state": states, "param_groups": current["param_groups"]})
    else:
        logger.warning("other parameters were trained before; the optimizer starts anew")


def _trained_until(both: nn.ModuleDict, config: TrainConfig, number: int) -> list[str]:
    """Everything that the stages up to this one train, and all heads: those begin at random."""
    model = both[MODEL]
    assert isinstance(model, XSam)
    wanted = {name for name, _ in both.named_parameters() if name.startswith(f"{GROUNDING}.")}
    for stage in config.stages[: number + 1]:
        wanted.update(trained_names(both, model.config, stage, config.lora))
    return [name for name, _ in both.named_parameters() if name in wanted]


def _sizes(both: nn.ModuleDict) -> dict[str, Any]:
    """The model's config: also what no tensor tells, such as the weights of its losses."""
    model = both[MODEL]
    assert isinstance(model, XSam)
    sizes: dict[str, Any] = json.loads(model.config.to_json())
    return sizes


def _changes(before: Any, now: Any, only: set[str] | None = None, key: str = "") -> Iterator[str]:
    """``stages.0.steps: 30 -> 40`` for everything that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in [name for name in before if name in now and (only is None or name in only)]:
            yield from _changes(before[name], now[name], None, f"{key}.{name}".lstrip("."))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, pair in enumerate(zip(before, now, strict=True)):
            yield from _changes(*pair, None, f"{key}.{number}")
    elif before != now:
        yield f"{key}: {before} -> {now}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
