"""All sizes of one X-SAM in one object. Variants are JSON files, not code (``variants/``, ``tiny/config.json``)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from xsam_backend.errors import CheckpointError
from xsam_backend.model.chat_templates import CHAT_TEMPLATES

VARIANTS = Path(__file__).parent / "variants"

ENCODERS = (("siglip", "sam"), ("siglip", "efficientnet"), ("shared", "efficientnet"))
"""Kinds of vision encoder and segmentor encoder that go together."""


@dataclass(frozen=True)
class VisionConfig:
    """The picture that the language model looks at.

    ``kind`` "siglip": transformers' SigLIP vision model, ``transformers`` are its config's fields.
    ``kind`` "shared": the segmentor's own trunk looks at this picture too (coarsest map).
    """

    kind: str
    image_size: int
    select_layer: int = -2
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    square_pad_value: int = 127
    transformers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SegmentorEncoderConfig:
    """The picture that masks are made from.

    ``kind`` "sam": transformers' SAM vision encoder; ``select_layers`` index its hidden states, embeddings
    included, coarse order last; the token map is hidden state ``token_layer``.
    ``kind`` "efficientnet": EfficientNet-Lite0 with a few SAM vision layers on its stride-16 map; its four maps
    (strides 4, 8, 16, 32) are the pyramid, the stride-16 one is the token map.
    """

    kind: str
    image_size: int
    select_layers: tuple[int, ...] = ()
    token_layer: int = -2
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    transformers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ConnectorConfig:
    """From encoder maps to the pixel decoder's pyramid: one branch per map, finest first."""

    in_channels: tuple[int, ...]
    scale_factors: tuple[float, ...]
    out_channels: tuple[int, ...]
    hidden_channels: int


@dataclass(frozen=True)
class SegmentorConfig:
    """Pixel decoder and mask decoder (Mask2Former, arXiv 2112.01527)."""

    feature_size: int
    mask_feature_size: int
    hidden_dim: int
    num_queries: int
    num_attention_heads: int
    encoder_layers: int
    encoder_feedforward_dim: int
    decoder_layers: int
    dim_feedforward: int
    feature_strides: tuple[int, ...] = (4, 8, 16, 32)
    common_stride: int = 4


@dataclass(frozen=True)
class LossConfig:
    """Weights and sampling of the training losses (Mask2Former's, with X-SAM's language loss)."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    num_points: int = 12544
    oversample_ratio: float = 3.0
    importance_sample_ratio: float = 0.75
    language_weight: float = 1.0
    segmentation_weight: float = 1.0


@dataclass(frozen=True)
class XSamConfig:
    """One X-SAM.

    Attributes:
        language: fields of a transformers config, ``model_type`` among them ("phi3", "qwen3", …).
        chat_template: name of a template in ``conversation``.
        max_text_tokens: longest text, image tokens not counted.
        downsample_ratio: pixel shuffle of the segmentor's token map before its projector.
        region_points: points sampled per region prompt.
        use_bos: whether a conversation starts with the tokenizer's BOS token.
        close_up_share: interactive objects smaller than this share of the picture's longer side are looked at
            again, cut out and enlarged. 0: never (the released model's pictures are large enough).
        refines_clicks: whether further clicks also correct as ``click_refiner`` has learned on this model's answers.
            Elsewhere: no, it hasn't learned to leave good masks alone.
        closest_tiles: for labels of small objects, and where many small ones are found, the picture is looked at
            again in at most so many by so many windows, see ``tiles``. 0: never, as the reference does.
        phrase_sharpness: how sharply the vote on a phrase's mask heeds the best query, see ``phrase_choice``. 0: the
            best-scored query alone, as the reference has it.
        phrase_threshold: phrases with a lower score are refused, unless the prompt says otherwise.
    """

    name: str
    language: Mapping[str, Any]
    vision: VisionConfig
    segmentor_encoder: SegmentorEncoderConfig
    connector: ConnectorConfig
    segmentor: SegmentorConfig
    losses: LossConfig
    chat_template: str
    max_text_tokens: int = 2319
    downsample_ratio: float = 0.5
    region_points: int = 256
    use_bos: bool = True
    close_up_share: float = 0.0
    refines_clicks: bool = False
    closest_tiles: int = 0
    phrase_sharpness: float = 0.0
    phrase_threshold: float = 0.3

    def __post_init__(self) -> None:
        kinds = self.vision.kind, self.segmentor_encoder.kind
        if kinds not in ENCODERS:
            known = ", ".join(f"{vision} with {encoder}" for vision, encoder in ENCODERS)
            raise CheckpointError(f"{self.name}: expected encoders {known}, got {kinds[0]} with {kinds[1]}")
        if self.chat_template not in CHAT_TEMPLATES:
            known = ", ".join(CHAT_TEMPLATES)
            raise CheckpointError(f"{self.name}: chat_template: expected one of {known}, got {self.chat_template!r}")
        if self.phrase_sharpness < 0:
            raise CheckpointError(f"{self.name}: phrase_sharpness: expected 0 or more, got {self.phrase_sharpness}")

    def to_json(self) -> str:
        """Pretty JSON that ``from_json`` reads back to an equal config."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "config.json") -> XSamConfig:
        """Raises CheckpointError: not JSON, or fields that are unknown, missing or of another kind."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:  # the latter: too deep
            raise CheckpointError(f"{source}: expected JSON, got {error}") from error
        return _build(cls, raw, source)

    @classmethod
    def variant(cls, name: str) -> XSamConfig:
        """A config that comes with the package: ``phi3`` (released), ``qwen3-1.7b``, ``qwen3-4b``."""
        path = VARIANTS / f"{name}.json"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in VARIANTS.glob("*.json")))
            raise CheckpointError(f"no variant {name!r}: expected one of {known}")
        return cls.from_json(path.read_text(encoding="utf-8"), path.name)


T = TypeVar("T")


def _build(cls: type[T], raw: Any, where: str) -> T:
    """A frozen dataclass from JSON values: strict about names, tuples from lists."""
    if not isinstance(raw, dict):
        raise CheckpointError(f"{where}: expected an object, got {type(raw).__name__}")
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(raw) - set(fields))
    missing = sorted(
        name
        for name, f in fields.items()
        if name not in raw and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    if unknown or missing:
        raise CheckpointError(f"{where}: unknown fields {unknown}, missing fields {missing}")
    return cls(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in raw.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise CheckpointError(f"{where}: expected a list, got {value!r}")
        kinds = get_args(hint)
        if kinds[-1] is not Ellipsis and len(value) != len(kinds):
            raise CheckpointError(f"{where}: expected {len(kinds)} values, got {len(value)}: {value!r}")
        return tuple(_value(kinds[0], item, where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = dict if get_origin(hint) is not None else hint
    if not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool):
        raise CheckpointError(f"{where}: expected {getattr(expected, '__name__', expected)}, got {value!r}")
    return value
