"""What a fine-tuning changed, and nothing else: low-rank changes of matrices (LoRA, arXiv 2106.09685), whole tensors.

A delta belongs to one base version. Put on it, it makes a model of its own that shares with the base all that it
doesn't change: several projects' models stand side by side, and none is ever switched in place. What its scores mean
and how large its objects are travels with it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from xsam_backend.errors import CheckpointError
from xsam_backend.model.four_bits import PairBeside, is_in_four_bits
from xsam_backend.model.score_calibration import Calibration
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Task
from xsam_backend.whole_files import PARTIAL, move_into_place

FORMAT = "xsam-backend delta 1"
_WHOLE, _A, _B = "whole.", "lora_a.", "lora_b."


@dataclass(frozen=True)
class Delta:
    """Changes by parameter name.

    Attributes:
        base: the version that they belong to.
        scale: what the product of a pair is multiplied with.
        pairs: of a matrix (out, in): A (rank, in) and B (out, rank), float.
        whole: parameters as they are now.
        calibrations: what a task's scores mean, see ``model.predictor``; those of other tasks stay as they are.
        typical_sizes: label -> longer side of its objects, their median, as share of the picture's longer side.
    """

    base: str
    scale: float
    pairs: Mapping[str, tuple[Tensor, Tensor]]
    whole: Mapping[str, Tensor]
    calibrations: Mapping[Task, Calibration] = field(default_factory=dict)
    typical_sizes: Mapping[str, float] = field(default_factory=dict)

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return sum(a.numel() + b.numel() for a, b in self.pairs.values()) + sum(
            t.numel() for t in self.whole.values()
        )


def part_way(start: Delta, end: Delta, share_of: Callable[[str], float]) -> Delta:
    """What lies some way from one state of a training to a later one, parameter by parameter.

    Fine-tuned weights brought back part of the way keep most of what was learned and lose much less of what the model
    could do before (WiSE-FT, arXiv 2109.01903, sec. 3).

    Args:
        start, end: changes of the same parameters; all else is the end's.
        share_of: a parameter's name -> how much of the way; 0 is the start, 1 the end.
    """

    def between(name: str, one: Tensor, other: Tensor) -> Tensor:
        return torch.lerp(one.float(), other.float(), share_of(name))

    return replace(
        end,
        pairs={
            name: (between(name, start.pairs[name][0], a), between(name, start.pairs[name][1], b))
            for name, (a, b) in end.pairs.items()
        },
        whole={name: between(name, start.whole[name], tensor) for name, tensor in end.whole.items()},
    )


def save_delta(delta: Delta, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a delta, whole or not at all. Deterministic: equal deltas make equal files.

    Raises:
        CheckpointError: it can't be written, or its numbers are none (any more, in this format).
    """
    tensors = {_A + name: a for name, (a, _) in delta.pairs.items()}
    tensors |= {_B + name: b for name, (_, b) in delta.pairs.items()}
    tensors |= {_WHOLE + name: tensor for name, tensor in delta.whole.items()}
    stored = {name: tensors[name].detach().to("cpu", dtype).contiguous().clone() for name in sorted(tensors)}
    broken = [name for name, tensor in stored.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(
            f"{path}: the training went astray, of {len(broken)} tensors some numbers are not finite ({broken[0]}): "
            "start it again, with a lower learning rate if it happens again"
        )
    facts: dict[str, Any] = {"base": delta.base, "format": FORMAT, "scale": delta.scale}
    if delta.calibrations:
        facts["calibrations"] = {str(task): asdict(calibration) for task, calibration in delta.calibrations.items()}
    if delta.typical_sizes:
        facts["typical_sizes"] = dict(delta.typical_sizes)
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(stored, partial, metadata={"facts": json.dumps(facts, sort_keys=True)})
        move_into_place(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: the changes can't be written ({error}): free some space") from error


def load_delta(path: Path) -> Delta:
    """Read a delta, on the CPU.

    Raises:
        CheckpointError: it isn't one, or it is damaged.
    """
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            if facts["format"] != FORMAT:
                raise CheckpointError(f"{path}: format {facts['format']!r}, this version reads {FORMAT!r}: update it")
            for name in file.keys():  # noqa: SIM118  safe_open isn't a mapping
                if name.startswith(_A):
                    matrix = name.removeprefix(_A)
                    pairs[matrix] = file.get_tensor(name), file.get_tensor(_B + matrix)
                elif name.startswith(_WHOLE):
                    whole[name.removeprefix(_WHOLE)] = file.get_tensor(name)
        calibrations = {Task(task): Calibration(**said) for task, said in facts.get("calibrations", {}).items()}
        if "calibration" in facts:  # of versions from before there were several
            calibrations[Task.GENERIC] = Calibration(**facts["calibration"])
        sizes = {str(label): float(size) for label, size in facts.get("typical_sizes", {}).items()}
        return Delta(facts["base"], float(facts["scale"]), pairs, whole, calibrations, sizes)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected a fine-tuning's changes, got {error!r}: restore a backup") from error


def with_delta(base: XSam, version: str, delta: Delta) -> XSam:
    """The base model with the changes, as a model of its own. What isn't changed is shared, not copied.

    Args:
        version: of the base model.

    Raises:
        CheckpointError: the delta is of another base, or of parameters that the base hasn't.
    """
    if delta.base != version:
        raise CheckpointError(
            f"these changes belong to {delta.base}, the model that runs is {version}: serve with that base, or "
            "fine-tune again"
        )
    parameters = dict(base.named_parameters())
    misfits = [name for name in (*delta.pairs, *delta.whole) if name not in parameters]
    misfits += [
        name for name, tensor in delta.whole.items() if name in parameters and not _fits(tensor, parameters[name])
    ]
    misfits += [
        name
        for name, (a, b) in delta.pairs.items()
        if name in parameters and _matrix_size(base, name) != (b.shape[0], a.shape[1])
    ]
    if misfits:
        raise CheckpointError(f"the changes don't fit the model: {', '.join(misfits[:3])}: were they damaged?")
    model = sharing_copy(base)
    for name, (a, b) in delta.pairs.items():
        layer_name = name.rpartition(".")[0]
        layer = model.get_submodule(layer_name)
        if is_in_four_bits(layer):
            assert isinstance(layer, nn.Linear)
            replace_in(model, layer_name, PairBeside(layer, a.to(base.device), b.to(base.device), delta.scale))
        else:
            changed = _changed(parameters[name], a, b, delta.scale)
            replace_in(model, name, nn.Parameter(changed, requires_grad=False))
    for name, tensor in delta.whole.items():
        replace_in(model, name, nn.Parameter(tensor.to(parameters[name]), requires_grad=False))
    model.language.tie_words()
    return model.eval()


def sharing_copy(model: XSam) -> XSam:
    """Modules of their own that hold the same tensors."""
    shared: dict[int, object] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)  # what is in the memo isn't copied


def replace_in(model: nn.Module, name: str, value: nn.Module | nn.Parameter) -> None:
    """Put another module or parameter in the place that has this name."""
    path, _, own = name.rpartition(".")
    setattr(model.get_submodule(path), own, value)


def distance_by_part(first: Delta, second: Delta) -> dict[str, float]:
    """How far two versions of one base are apart, for each part of the model: the norm of the difference of their
    changes, over that of the first one's changes. Of whole parameters only the difference counts, since the base's
    own values aren't in a delta.

    Raises:
        CheckpointError: they belong to different bases.
    """
    if first.base != second.base:
        raise CheckpointError(f"expected two versions of one base, got ones of {first.base} and {second.base}")
    apart: dict[str, float] = {}
    size: dict[str, float] = {}
    for name in sorted({*first.pairs, *second.pairs, *first.whole, *second.whole}):
        part = name.split(".")[0]
        one, other = _change(first, name), _change(second, name)
        nothing = torch.zeros(())
        difference = (one if one is not None else nothing) - (other if other is not None else nothing)
        apart[part] = apart.get(part, 0.0) + float(difference.square().sum())
        size[part] = size.get(part, 0.0) + (float(one.square().sum()) if one is not None else 0.0)
    return {part: (apart[part] / size[part]) ** 0.5 if size[part] else float("inf") for part in apart}


def change_by_part(weights: Path, version: str, delta: Delta) -> dict[str, float]:
    """How far a version is from its base, for each part of the model: the norm of its changes, over that of the
    base's numbers which they change.

    Args:
        weights: the base's file.
        version: the base's name.

    Raises:
        CheckpointError: the changes are another base's, or the file can't be read.
    """
    if delta.base != version:
        raise CheckpointError(f"expected a version of {version}, got one of {delta.base}: name that with --model")
    apart: dict[str, float] = {}
    size: dict[str, float] = {}
    try:
        with safe_open(weights, "pt") as file:
            for name in sorted({*delta.pairs, *delta.whole}):
                part = name.split(".")[0]
                before, change = file.get_tensor(name).float(), _change(delta, name)
                assert change is not None
                difference = change if name in delta.pairs else change - before
                apart[part] = apart.get(part, 0.0) + float(difference.square().sum())
                size[part] = size.get(part, 0.0) + float(before.square().sum())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{weights}: cannot be read ({error}): pull or copy the model again") from error
    return {part: (apart[part] / size[part]) ** 0.5 if size[part] else float("inf") for part in apart}


def _change(delta: Delta, name: str) -> Tensor | None:
    if name in delta.pairs:
        a, b = delta.pairs[name]
        return delta.scale * (b.float() @ a.float())
    return delta.whole[name].float() if name in delta.whole else None


def _matrix_size(model: XSam, name: str) -> tuple[int, ...]:
    """Of a parameter; one in four bits is packed, but its layer knows."""
    layer = model.get_submodule(name.rpartition(".")[0])
    if is_in_four_bits(layer):
        assert isinstance(layer, nn.Linear)
        return layer.out_features, layer.in_features
    return tuple(layer.get_parameter(name.rpartition(".")[2]).shape)


def _fits(tensor: Tensor, parameter: Tensor) -> bool:
    return tensor.shape == parameter.shape


def _changed(matrix: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """In float32, then back: so that a model whose numbers are half as long gets the nearest ones."""
    change = b.to(matrix.device, torch.float32) @ a.to(matrix.device, torch.float32)
    return (matrix.detach().float() + scale * change).to(matrix.dtype)
