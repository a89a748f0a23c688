"""X-SAM (arXiv 2508.04655): two encoders, a language model and a segmentor, wired together.

``encode`` is the picture's half, ``ask`` the question's. Recordings of the reference model say what each step must
give; ``tests/parity`` holds this module to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from xsam_backend.model.compiling import run_part
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.connector import Connector, Projector, token_sequence
from xsam_backend.model.conversation import IGNORE_LABEL, IMAGE_INDEX, NO_ID, TokenizedConversation
from xsam_backend.model.language import LanguageModel, Prefix, pad_rows
from xsam_backend.model.regions import sample_regions
from xsam_backend.model.segmentor import PixelFeatures, Segmentor
from xsam_backend.model.vision import (
    EfficientNetEncoder,
    EncoderMaps,
    EncoderOutputs,
    SamEncoder,
    SharedTrunkEncoder,
    SiglipEncoder,
)


@dataclass(frozen=True)
class ImageFeatures:
    """The picture's half of B pictures.

    Attributes:
        tokens: (B, T, D) what takes the place of ``<image>``: vision tokens, then the segmentor's.
        token_map: (B, D, h, w) the segmentor's tokens as a map; region prompts are sampled from it.
        pixels: what the mask decoder reads.
        summary: (B, C) the mean of what the vision encoder makes of them: the same in all versions of one base,
            since encoders aren't fine-tuned.
    """

    tokens: Tensor
    token_map: Tensor
    pixels: PixelFeatures
    summary: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, for counting bytes and moving between devices."""
        return (self.tokens, self.token_map, *self.pixels.tensors, self.summary)


@dataclass(frozen=True)
class Merged:
    """A token sequence with pictures and regions put in: embeddings (L, D), and int64 (L,) each for the rest.

    Ids and labels stay where they were given, in main memory mostly: what is decided by them waits for no device.
    """

    embeddings: Tensor
    labels: Tensor
    cond_ids: Tensor
    seg_ids: Tensor


@dataclass(frozen=True)
class Conditions:
    """What each decoder entry is asked for: ``embeddings`` (E, N + 1, D), background last; ``valid`` bool."""

    embeddings: Tensor
    valid: Tensor


class XSam(nn.Module):
    """One X-SAM; see ``XSamConfig`` for the sizes."""

    def __init__(self, config: XSamConfig) -> None:
        super().__init__()
        self.config = config
        encoder = config.segmentor_encoder
        self.segmentor_encoder: SamEncoder | EfficientNetEncoder = (
            SamEncoder(encoder) if encoder.kind == "sam" else EfficientNetEncoder(encoder)
        )
        self.vision_encoder: SiglipEncoder | SharedTrunkEncoder = (
            SiglipEncoder(config.vision) if config.vision.kind == "siglip" else SharedTrunkEncoder()
        )
        self.language = LanguageModel(config.language)
        width = self.language.width
        self.visual_projector = Projector(self.vision_encoder.out_channels, width)
        shuffled = round(self.segmentor_encoder.token_channels / config.downsample_ratio**2)
        self.seg_projector = Projector(shuffled, width)
        self.connector = Connector(config.connector)
        self.segmentor = Segmentor(config.segmentor, config.connector.out_channels)
        self.llm_projector = Projector(width, config.segmentor.hidden_dim)
        self.background = nn.Embedding(1, config.segmentor.hidden_dim)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.background.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' type."""
        return self.background.weight.dtype

    def encode(self, vision_pixels: Tensor, segmentor_pixels: Tensor) -> ImageFeatures:
        """The picture's half; arguments as of ``look``."""
        return self.features(self.look(vision_pixels, segmentor_pixels))

    def look(self, vision_pixels: Tensor, segmentor_pixels: Tensor) -> EncoderOutputs:
        """What of the picture's half no fine-tuning changes.

        Args:
            vision_pixels: (B, 3, V, V) the language model's picture.
            segmentor_pixels: (B, 3, S, S) the segmentor's, padded right and below.
        """
        maps = run_part(self.segmentor_encoder, segmentor_pixels, segmentor_pixels)
        return EncoderOutputs(self.vision_tokens(vision_pixels), maps)

    def features(self, outputs: EncoderOutputs) -> ImageFeatures:
        """The rest of the picture's half."""
        tokens, token_map = self.picture_tokens(outputs.seen, outputs.maps)
        pyramid = run_part(self.connector, outputs.seen, outputs.maps.pyramid)
        pixels = self.segmentor.features(pyramid)
        return ImageFeatures(tokens, token_map, pixels, outputs.seen.mean(1))

    def vision_tokens(self, vision_pixels: Tensor) -> Tensor:
        """(B, 3, V, V) to what the vision encoder makes of it, (B, T, C)."""
        if isinstance(self.vision_encoder, SharedTrunkEncoder):
            trunk = cast(EfficientNetEncoder, self.segmentor_encoder).trunk
            return cast(Tensor, run_part(self.vision_encoder, vision_pixels, vision_pixels, trunk))
        return cast(Tensor, run_part(self.vision_encoder, vision_pixels, vision_pixels))

    def picture_tokens(self, seen: Tensor, maps: EncoderMaps) -> tuple[Tensor, Tensor]:
        """The language side of ``encode``: tokens (B, T, W) of both encoders, and the segmentor's as a map
        (B, W, h, w).

        Args:
            seen: what ``vision_tokens`` gives.
        """
        segmentor_tokens = self.seg_projector(token_sequence(maps.tokens, self.config.downsample_ratio))
        side = round(maps.tokens.shape[-1] * self.config.downsample_ratio)
        tokens = torch.cat([self.visual_projector(seen), segmentor_tokens], 1)
        return tokens, segmentor_tokens.transpose(1, 2).unflatten(2, (-1, side))

    def region_embeddings(self, token_map: Tensor, points: Tensor) -> Tensor:
        """One embedding (N, D) per region, from maps (N, D, h, w) and points (N, P, 2) as (row, column) shares."""
        return sample_regions(token_map, points)

    def merge(
        self,
        input_ids: Tensor,
        labels: Tensor,
        cond_ids: Tensor,
        seg_ids: Tensor,
        image_tokens: Tensor | None = None,
        regions: Tensor | None = None,
        words: Tensor | None = None,
    ) -> Merged:
        """Put a picture's tokens (T, D) in place of ``<image>``, region embeddings (N, D) in place of ``<region>``.

        ``words`` (L, D) are the token embeddings, if they were looked up already (placeholders' rows are not used).
        The four id rows are int64 (L,), best in main memory. Inserted picture tokens have no ids and no label; a
        region's embedding carries the region's number as condition id.
        """
        if words is None:
            words = self.language.embed(input_ids.clamp(min=0).to(self.device))
        rows: dict[str, list[Tensor]] = {"embeddings": [], "labels": [], "cond_ids": [], "seg_ids": []}
        region = 0
        start = 0
        placeholders = {at: number for at, number in enumerate(input_ids.tolist()) if number < 0}

        def add(embeddings: Tensor, labels: Tensor, cond_ids: Tensor, seg_ids: Tensor) -> None:
            rows["embeddings"].append(embeddings)
            rows["labels"].append(labels)
            rows["cond_ids"].append(cond_ids)
            rows["seg_ids"].append(seg_ids)

        for at in [*placeholders, len(input_ids)]:
            if at > start:
                span = slice(start, at)
                add(words[span], labels[span], cond_ids[span], seg_ids[span])
            if at == len(input_ids):
                break
            if placeholders[at] == IMAGE_INDEX:
                assert image_tokens is not None, "a sequence with <image> needs the picture's tokens"
                new, condition = image_tokens, NO_ID
            else:
                assert regions is not None, "a sequence with <region> needs region embeddings"
                new, condition = regions[region : region + 1], region
                region += 1
            full = labels.new_full((len(new),), NO_ID)
            add(new, full.new_full((len(new),), IGNORE_LABEL), full.new_full((len(new),), condition), full)
            start = at + 1
        return Merged(**{name: torch.cat(parts) for name, parts in rows.items()})

    def merge_tokens(
        self,
        tokens: TokenizedConversation,
        image_tokens: Tensor | None = None,
        regions: Tensor | None = None,
        words: Tensor | None = None,
    ) -> Merged:
        """``merge`` of a tokenised conversation."""
        rows = (tokens.input_ids, tokens.labels, tokens.cond_ids, tokens.seg_ids)
        input_ids, labels, cond_ids, seg_ids = map(torch.from_numpy, rows)
        return self.merge(input_ids, labels, cond_ids, seg_ids, image_tokens, regions, words)

    def project(self, states: Tensor) -> Tensor:
        """Language states (P, L, W) to the segmentor's width (P, L, D)."""
        return cast(Tensor, self.llm_projector(states))

    def with_background(self, conditions: Tensor, valid: Tensor) -> Conditions:
        """Append the learned background: (E, N, D) and bool (E, N) to N + 1 columns."""
        background = self.background.weight[None].expand(len(conditions), -1, -1).to(conditions.dtype)
        return Conditions(
            torch.cat([conditions, background], 1),
            torch.cat([valid, valid.new_ones(len(valid), 1)], 1),
        )

    def image_prefix(self, merged: list[Merged]) -> Prefix:
        """Keys and values of the tokens up to and including the picture; the sequences must be of one length."""
        return self.language.prefix(torch.stack([m.embeddings for m in merged]))

    def text_states(self, merged: list[Merged], prefix: Prefix | None = None, rows: Tensor | None = None) -> Tensor:
        """Language states (P, longest L, W) of sequences, continuing each row's prefix if there is one.

        Right padding needs no mask: a causal model's real tokens never see it.
        """
        cache = None
        if prefix is not None:
            own = prefix if rows is None else prefix.select(rows)
            cache = self.language.new_cache(own)
        return self.language.states(pad_rows([m.embeddings for m in merged]), cache)


def pool_by_id(projected: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the tokens of each id: (P, L, D) and int64 (P, L) to (P, N, D) and bool (P, N).

    N is the highest id of the batch plus one; rows with fewer ids are invalid there. The ids may be in main memory,
    which saves waiting for the device.
    """
    count = max(int(ids.max()) + 1, 0) if ids.numel() else 0
    ids = ids.to(projected.device)
    belongs = ids[:, None] == torch.arange(count, device=ids.device)[:, None]
    total = belongs.sum(-1, keepdim=True)
    weights = belongs.to(projected.dtype) / total.clamp(min=1)
    return weights @ projected, total.squeeze(-1) > 0
