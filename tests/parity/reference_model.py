"""The recorded model in our code, and one pass of it over a recorded case."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from recordings import Recording, config, weights
from torch import Tensor

from xsam_backend.model.checkpoint import build_empty, load_state
from xsam_backend.model.config import (
    ConnectorConfig,
    LossConfig,
    SegmentorConfig,
    SegmentorEncoderConfig,
    VisionConfig,
    XSamConfig,
)
from xsam_backend.model.conversation import IMAGE_INDEX
from xsam_backend.model.released import convert_state
from xsam_backend.model.segmentor import Predictions
from xsam_backend.model.xsam import Conditions, ImageFeatures, Merged, XSam, pool_by_id

ID_ROWS = ("input_ids", "labels", "cond_ids", "seg_ids")
PHRASE_TASKS = ("refseg", "reaseg")


@cache
def reference_config() -> XSamConfig:
    """The recorded sizes as a config of ours."""
    facts = config()
    own = {"architecture", "vocab_size_before_adding_tokens", "layers_tuple_length", "hidden_states_tuple_length"}

    def fields(name: str) -> dict:
        return {key: value for key, value in facts[name].items() if key not in own | {"image_size"}}

    decoder, xsam = facts["mask2former"], facts["xsam"]
    channels = facts["sam_vision_encoder"]["hidden_size"]
    return XSamConfig(
        name="recorded",
        language={"model_type": "phi3", **fields("llm")},
        vision=VisionConfig(
            "siglip",
            facts["vision_encoder"]["image_size"],
            xsam["visual_select_layer"],
            transformers=fields("vision_encoder"),
        ),
        segmentor_encoder=SegmentorEncoderConfig(
            "sam",
            facts["sam_vision_encoder"]["image_size"],
            tuple(xsam["seg_select_layers_used"]),
            xsam["visual_select_layer"],
            transformers=fields("sam_vision_encoder"),
        ),
        connector=ConnectorConfig(
            (channels,) * 3,
            tuple(float(scale) for scale in xsam["connector_scale_factor_used"]),
            tuple(decoder["feature_channels"]),
            xsam["connector_hidden_dim"],
        ),
        segmentor=SegmentorConfig(
            **{name: decoder[name] for name in SegmentorConfig.__dataclass_fields__ if name != "feature_strides"}
        ),
        losses=LossConfig(num_points=decoder["train_num_points"]),
        chat_template="phi3_chat",
        downsample_ratio=xsam["downsample_ratio"],
        region_points=xsam["sampler_num_points"],
    )


def fresh_model() -> XSam:
    """A model of one's own with the recorded weights, for tests that take gradients."""
    own = {name: tensor.clone() for name, tensor in weights().items()}
    return load_state(build_empty(reference_config()), convert_state(own, reference_config()))


@cache
def reference_model() -> XSam:
    """One model for all tests that only look."""
    return fresh_model().requires_grad_(False)


@dataclass(frozen=True)
class Pass:
    """What each stage gave, our own results of one stage going into the next.

    Attributes:
        merged: one sequence per sample.
        states, projected: (B, L, W) and (B, L, D).
        conditions: (E, N + 1, D) with their validity; E entries are samples, or phrases for refseg.
        seg: (E, D).
    """

    features: ImageFeatures
    merged: list[Merged]
    states: Tensor
    projected: Tensor
    conditions: Conditions
    seg: Tensor
    predictions: Predictions


def pixels(recording: Recording) -> tuple[Tensor, Tensor]:
    """Recorded pixel values of all samples: for the vision encoder, for the segmentor's."""
    sources = [recording.tensors] if recording.is_training else [recording.features(i) for i in samples_of(recording)]
    return (
        torch.cat([source["siglip_pixel_values"] for source in sources]),
        torch.cat([source["sam_pixel_values"] for source in sources]),
    )


def samples_of(recording: Recording) -> range:
    return range(len(recording.samples))


def id_rows(recording: Recording, sample: int) -> list[Tensor]:
    """Recorded ids before merging; the shorter sample of a batch is padded. Without conditions they are all -1."""
    tensors = recording.tensors
    empty = torch.full_like(tensors["tokens.input_ids"], -1)
    return [tensors.get(f"tokens.{name}", empty)[sample] for name in ID_ROWS]


def regions(model: XSam, recording: Recording, features: ImageFeatures, sample: int = 0) -> Tensor | None:
    """Region embeddings at the recorded points, None where the case has no regions."""
    if "sampler.points" not in recording.tensors:
        return None
    points = recording.tensors["sampler.points"]
    maps = features.token_map[sample : sample + 1].expand(len(points), -1, -1, -1)
    return model.region_embeddings(maps, points)


def split_at_image(rows: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Id rows up to and including the picture, and after it."""
    after = int((rows[0] == IMAGE_INDEX).nonzero()[0]) + 1
    return [row[:after] for row in rows], [row[after:] for row in rows]


def phrase_conditions(conditions: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Each phrase becomes an entry that sees all phrases of the batch.

    Ours are asked one by one, in training as in answers: see ``docs/design.md``.

    Args:
        conditions: (P, N, D) of P sequences, with ``valid`` bool (P, N).

    Returns:
        (E, E, D) and bool (E, E), E phrases in order; column m is phrase m.
    """
    phrases = conditions[valid]
    count = len(phrases)
    return phrases[None].expand(count, -1, -1), valid.new_ones(count, count)


def lay_out(
    model: XSam, projected: Tensor, cond_ids: Tensor, seg_ids: Tensor, task: str
) -> tuple[Conditions, Tensor, Tensor]:
    """Conditions, ``<SEG>`` embeddings and picture of each decoder entry, from ids (B, L), as the reference does."""
    conditions, valid = pool_by_id(projected, cond_ids)
    seg, present = pool_by_id(projected, seg_ids)
    picture = torch.arange(len(projected))
    if task in PHRASE_TASKS:
        picture = picture[:, None].expand_as(valid)[valid]
        conditions, valid = phrase_conditions(conditions, valid)
        seg = seg[present]
    else:
        seg = seg[:, 0]
    return model.with_background(conditions, valid), seg, picture


def run(model: XSam, recording: Recording) -> Pass:
    """The whole sequence in one pass, from recorded pixels and recorded ids."""
    features = model.encode(*pixels(recording))
    merged = [
        model.merge(
            *id_rows(recording, sample),
            image_tokens=features.tokens[sample],
            regions=regions(model, recording, features, sample),
        )
        for sample in samples_of(recording)
    ]
    states = model.text_states(merged)
    projected = model.project(states)
    cond_ids, seg_ids = (torch.stack([getattr(row, name) for row in merged]) for name in ("cond_ids", "seg_ids"))
    conditions, seg, picture = lay_out(model, projected, cond_ids, seg_ids, recording.task)
    predictions = model.segmentor(features.pixels, picture, seg, conditions.embeddings, conditions.valid)
    return Pass(features, merged, states, projected, conditions, seg, predictions)


_passes: dict[str, Pass] = {}


def reference_pass(recording: Recording) -> Pass:
    """``run`` without gradients, once per case."""
    if recording.name not in _passes:
        with torch.no_grad():
            _passes[recording.name] = run(reference_model(), recording)
    return _passes[recording.name]
