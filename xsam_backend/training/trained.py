"""Which parameters a stage trains, and how fast: the parts of the model by name, trunk and matrices apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from xsam_backend.errors import SettingsError
from xsam_backend.model.config import XSamConfig
from xsam_backend.training.config import LoraConfig, PartName, StageConfig

LORA = "lora_"
"""In the names of low-rank pairs' matrices, and of nothing else."""

MODEL, GROUNDING = "model", "grounding"
"""What is trained is one module with these two children, the latter only where a stage has grounding."""

PREFIXES: Mapping[PartName, tuple[str, ...]] = {
    "vision_encoder": ("vision_encoder.",),
    "segmentor_encoder": ("segmentor_encoder.",),
    "visual_projector": ("visual_projector.",),
    "seg_projector": ("seg_projector.",),
    "language": ("language.",),
    "llm_projector": ("llm_projector.",),
    "connector": ("connector.",),
    "segmentor": ("segmentor.", "background."),
}
"""Part -> beginnings of its parameters' names. (The background is a class like others, learned with the masks.)"""


def trained_names(
    both: nn.Module, config: XSamConfig, stage: StageConfig, lora: LoraConfig | None = None
) -> list[str]:
    """The names of all parameters that the stage trains, grounding's heads among them.

    Args:
        lora: of its parts, only low-rank pairs and what conditions and queries begin with are trained.

    Raises:
        SettingsError: there are none.
    """
    wanted = _prefixes(stage.trained_parts)
    thin = _prefixes([part for part in stage.trained_parts if part in lora.parts]) if lora is not None else ()
    if stage.grounding:
        wanted += (f"{GROUNDING}.",)
    names = [
        name
        for name, _ in both.named_parameters()
        if name.startswith(wanted)
        and (stage.trunk_rate > 0 or not _is_trunk(name, config))
        and (not name.startswith(thin) or LORA in name or _is_learned_input(name))
    ]
    if not any(name.startswith(f"{MODEL}.") for name in names):
        raise SettingsError(
            f"stage '{stage.name}' trains nothing: of {', '.join(stage.trained_parts)}, this model has no parameters "
            "but pretrained encoders', and trunk_learning_rate is 0"
        )
    return names


def model_names(
    model: nn.Module, config: XSamConfig, stage: StageConfig, lora: LoraConfig | None = None
) -> list[str]:
    """Of a stage without grounding, the same by the model's own names."""
    both = nn.ModuleDict({MODEL: model})
    return [name.removeprefix(f"{MODEL}.") for name in trained_names(both, config, stage, lora)]


def parameter_groups(
    both: nn.Module, config: XSamConfig, stage: StageConfig, lora: LoraConfig | None = None
) -> list[dict[str, Any]]:
    """Groups for the optimizer, and gradients switched on for these parameters alone.

    Each group has its full learning rate as ``peak``. Norms, biases and embeddings don't decay.
    """
    names = set(trained_names(both, config, stage, lora))
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in both.named_parameters():
        parameter.requires_grad_(name in names)
        if name in names:
            plain = parameter.ndim < 2 or "embed" in name or _is_learned_input(name)
            groups.setdefault((_is_trunk(name, config), plain), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": stage.trunk_rate if trunk else stage.learning_rate,
            "weight_decay": 0.0 if plain else stage.weight_decay,
        }
        for (trunk, plain), parameters in groups.items()
    ]


def _prefixes(parts: Iterable[PartName]) -> tuple[str, ...]:
    return tuple(f"{MODEL}.{prefix}" for part in parts for prefix in PREFIXES[part])


def _is_learned_input(name: str) -> bool:
    """Whether a parameter is no map, but what maps are applied to: queries, and the background's embedding."""
    return "queries_" in name or name.startswith(f"{MODEL}.background")


def _is_trunk(name: str, config: XSamConfig) -> bool:
    """Whether a parameter belongs to a pretrained image encoder: SigLIP, SAM, EfficientNet."""
    in_segmentor = "segmentor_encoder." + ("trunk." if config.segmentor_encoder.kind == "efficientnet" else "")
    return name.startswith((f"{MODEL}.vision_encoder.", f"{MODEL}.{in_segmentor}"))
