"""Low-rank changes instead of whole matrices: put into the model before training, taken out as a delta after it.

LoRA (arXiv 2106.09685) through peft. Of a part that is trained so, its linear layers get pairs of thin matrices and
stay as they are themselves; so does all else of the part but its learned queries. nn.MultiheadAttention reads its
matrices without calling their layers, so those stay as they are, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from xsam_backend.errors import CheckpointError, SettingsError
from xsam_backend.model.delta import Delta
from xsam_backend.model.xsam import XSam
from xsam_backend.training.config import LoraConfig
from xsam_backend.training.trained import LORA, PREFIXES

ADAPTER = "default"


def add_lora(model: XSam, config: LoraConfig, seed: int = 0) -> None:
    """Put the pairs in, in place. They change nothing before they are trained; the seed decides how they begin.

    Raises:
        SettingsError: the parts have no linear layer.
    """
    prefixes = tuple(prefix for part in config.parts for prefix in PREFIXES[part])
    inner = {
        f"{name}.out_proj" for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention)
    }
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.startswith(prefixes)
        and name not in inner
        and not name.endswith("lm_head")  # shares its matrix with the words' embeddings
    ]
    if not targets:
        raise SettingsError(f"lora: {', '.join(config.parts)} have no linear layer in this model: name other parts")
    peft_config = PeftConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=targets, bias="none"
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(peft_config, model, adapter_name=ADAPTER)


def clean_name(name: str) -> str:
    """A parameter's name as it was before the pairs were put in.

    >>> clean_name("language.q_proj.base_layer.weight")
    'language.q_proj.weight'
    """
    return name.replace(".base_layer.", ".")


def take_delta(model: XSam, base: str, trained: Sequence[str]) -> Delta:
    """What training changed, by clean names; the model stays as it is.

    Args:
        base: the version that the training started from.
        trained: names of the parameters that were trained, pairs among them.
    """
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    scales = set()
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            first, second = cast(nn.Linear, module.lora_A[ADAPTER]), cast(nn.Linear, module.lora_B[ADAPTER])
            pairs[f"{name}.weight"] = _copied(first.weight), _copied(second.weight)
            scales.add(float(module.scaling[ADAPTER]))
    assert len(scales) <= 1
    parameters: Mapping[str, Tensor] = dict(model.named_parameters())
    whole = {clean_name(name): _copied(parameters[name]) for name in trained if LORA not in name}
    return Delta(base, scales.pop() if scales else 1.0, pairs, whole)


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


@torch.no_grad()
def put_delta(model: XSam, delta: Delta) -> None:
    """Go on from a delta: its pairs and whole parameters, in place, into a model that has pairs for them.

    Raises:
        CheckpointError: the model has no such pairs or parameters, or of another size.
    """
    parameters = {clean_name(name): parameter for name, parameter in model.named_parameters()}
    wanted = dict(delta.whole)
    for name, (first, second) in delta.pairs.items():
        module = name.removesuffix(".weight")
        wanted[f"{module}.lora_A.{ADAPTER}.weight"] = first
        wanted[f"{module}.lora_B.{ADAPTER}.weight"] = second
    for name, tensor in wanted.items():
        if name not in parameters or parameters[name].shape != tensor.shape:
            raise CheckpointError(
                f"the version before has changes of {name}, for which this training has no place: train with the "
                "same lora settings, or from the base model"
            )
        parameters[name].copy_(tensor)


@torch.no_grad()
def merge_lora(model: XSam) -> None:
    """Add the pairs to their matrices and take them out, in place: a model as any other."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, module.get_base_layer())
