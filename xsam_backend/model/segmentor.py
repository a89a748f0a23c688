"""Mask2Former's pixel decoder and mask decoder (arXiv 2112.01527), asked by conditions instead of classes.

The layers and their weights are transformers'. The pass over them is our own, so that what depends on the picture
only (keys, values, resized mask features) is computed once per picture and shared by all prompts, attention masks
aren't copied per head, and mask logits are only made for the queries and places that somebody reads. All three are
exact: bilinear resizing and the dot product with a mask embedding are both linear and commute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerMaskedAttentionDecoderLayer,
    Mask2FormerPixelDecoder,
    Mask2FormerTransformerModule,
)

from xsam_backend.model.compiling import run_part
from xsam_backend.model.config import SegmentorConfig
from xsam_backend.model.deformable import sample_rightly

sample_rightly()

LOGIT_LIMIT = 500.0
MASKED_LOGIT = -1e9
LEVELS = 3


@dataclass(frozen=True)
class PixelFeatures:
    """What the mask decoder reads of B pictures; made once per picture.

    Attributes:
        mask_features: (B, C, H, W) at the stride of the mask logits.
        level_features: three (B, C, h, w), coarse first: the pixel decoder's output.
        level_mask_features: mask_features resized to each level, (B, C, h*w).
        keys, values: per decoder layer (B, heads, h*w, head_dim).
    """

    mask_features: Tensor
    level_features: tuple[Tensor, ...]
    level_mask_features: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, for counting bytes and moving between devices."""
        return (self.mask_features, *self.level_features, *self.level_mask_features, *self.keys, *self.values)


@dataclass(frozen=True)
class Predictions:
    """The mask decoder's predictions for P prompts, one entry per decoder layer plus the one before the first.

    Attributes:
        hidden: layer-normed query states (P, Q, D).
        mask_embeddings: (P, Q, C); their dot product with mask features is the mask logit.
        class_logits: (P, Q, conditions), background last.
        mask_features: (B, C, H, W) of the pictures.
        picture: (P,) which picture each prompt is about.
    """

    hidden: tuple[Tensor, ...]
    mask_embeddings: tuple[Tensor, ...]
    class_logits: tuple[Tensor, ...]
    mask_features: Tensor
    picture: Tensor

    def mask_logits(self, layer: int = -1) -> Tensor:
        """(P, Q, H, W) mask logits of all queries at decoder resolution."""
        parts = []
        for of, rows in _groups(self.picture, len(self.mask_features)):
            embeddings, features = self.mask_embeddings[layer][rows], self.mask_features[of]
            count, queries, channels = embeddings.shape
            together = embeddings.reshape(len(features), count // len(features) * queries, channels)
            parts.append((together @ features.flatten(2)).reshape(count, queries, *features.shape[2:]))
        return torch.cat(parts)


class Segmentor(nn.Module):
    """Pyramid and questions in, masks and class scores out."""

    def __init__(self, config: SegmentorConfig, pyramid_channels: tuple[int, ...]) -> None:
        super().__init__()
        mask2former = Mask2FormerConfig(
            feature_size=config.feature_size,
            mask_feature_size=config.mask_feature_size,
            hidden_dim=config.hidden_dim,
            num_queries=config.num_queries,
            num_attention_heads=config.num_attention_heads,
            encoder_layers=config.encoder_layers,
            encoder_feedforward_dim=config.encoder_feedforward_dim,
            decoder_layers=config.decoder_layers,
            dim_feedforward=config.dim_feedforward,
            feature_strides=list(config.feature_strides),
            common_stride=config.common_stride,
            dropout=0.0,
            pre_norm=False,
        )
        self.heads = config.num_attention_heads
        self.pixel_decoder = Mask2FormerPixelDecoder(mask2former, list(pyramid_channels))
        # transformers leaves it unset, and makes it in memory even where the rest is on the meta device.
        self.pixel_decoder.level_embed = nn.Parameter(torch.zeros(LEVELS, config.feature_size))
        self.decoder = Mask2FormerTransformerModule(config.feature_size, mask2former)
        self.logit_scale = nn.Parameter(torch.full((1,), 2.6593))  # ln(1 / 0.07), as in CLIP

    @property
    def layers(self) -> list[Mask2FormerMaskedAttentionDecoderLayer]:
        """The decoder's layers in order; layer i reads level i modulo 3."""
        return [cast(Mask2FormerMaskedAttentionDecoderLayer, layer) for layer in self.decoder.decoder.layers]

    def features(self, pyramid: list[Tensor]) -> PixelFeatures:
        """The picture's half: pyramid (B, C_i, H_i, W_i), finest first."""
        wanted = {"return_dict": True, "output_attentions": False, "output_hidden_states": False}
        decoded = run_part(self.pixel_decoder, pyramid[0], pyramid, **wanted)
        maps = tuple(decoded.multi_scale_features)
        mask_features = decoded.mask_features
        memories, positions = [], []
        for level, x in enumerate(maps):
            position = self.decoder.position_embedder(x.shape, x.device, x.dtype)
            memory = self.decoder.input_projections[level](x).flatten(2)
            memories.append((memory + self.decoder.level_embed.weight[level][None, :, None]).transpose(1, 2))
            positions.append(position.flatten(2).transpose(1, 2))
        keys, values = [], []
        for index, layer in enumerate(self.layers):
            memory, position = memories[index % LEVELS], positions[index % LEVELS]
            _, key_weight, value_weight = layer.cross_attn.in_proj_weight.chunk(3)
            _, key_bias, value_bias = layer.cross_attn.in_proj_bias.chunk(3)
            keys.append(self._split_heads(F.linear(memory + position, key_weight, key_bias)))
            values.append(self._split_heads(F.linear(memory, value_weight, value_bias)))
        resized = tuple(
            F.interpolate(mask_features, size=x.shape[-2:], mode="bilinear", align_corners=False).flatten(2)
            for x in maps
        )
        return PixelFeatures(mask_features, maps, resized, tuple(keys), tuple(values))

    def forward(
        self, features: PixelFeatures, picture: Tensor, seg: Tensor, conditions: Tensor, valid: Tensor | None = None
    ) -> Predictions:
        """The prompt's half.

        Args:
            picture: int64 (P,), the picture of each prompt, ascending.
            seg: (P, D), the ``<SEG>`` embedding of each prompt, added to every query.
            conditions: (P, N + 1, D), background last.
            valid: bool (P, N + 1), False for padding; None when there is none.
        """
        table = self.decoder.decoder
        query_position = self.decoder.queries_embedder.weight[None].expand(len(seg), -1, -1)
        hidden = self.decoder.queries_features.weight[None] + seg[:, None]
        groups = _groups(picture, len(features.mask_features))
        states, embeddings, class_logits = [], [], []

        def predict(hidden: Tensor) -> None:
            state = table.layernorm(hidden)
            states.append(state)
            embeddings.append(table.mask_predictor.mask_embedder(state))
            class_logits.append(self.class_logits(state, conditions, valid))

        predict(hidden)
        for index, layer in enumerate(self.layers):
            level = index % LEVELS
            looks = [
                (rows, features.keys[index][of], features.values[index][of], features.level_mask_features[level][of])
                for of, rows in groups
            ]
            hidden = self._layer(layer, hidden, query_position, embeddings[-1], looks)
            predict(hidden)
        return Predictions(tuple(states), tuple(embeddings), tuple(class_logits), features.mask_features, picture)

    def class_logits(self, state: Tensor, conditions: Tensor, valid: Tensor | None) -> Tensor:
        """Scaled cosine of queries (P, Q, D) with conditions (P, N + 1, D): (P, Q, N + 1); padding is at -1e9.

        In float32 whatever the weights are in: bfloat16 has steps of 0.004 near 1, and the scale multiplies them.
        """
        with torch.autocast(state.device.type, enabled=False):
            cosine = F.normalize(state.float(), dim=-1) @ F.normalize(conditions.float(), dim=-1).transpose(1, 2)
        logits = (cosine * self.logit_scale.float().exp()).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        return logits if valid is None else logits.masked_fill(~valid[:, None], MASKED_LOGIT)

    def _layer(
        self,
        layer: Mask2FormerMaskedAttentionDecoderLayer,
        hidden: Tensor,
        query_position: Tensor,
        embeddings: Tensor,
        looks: Sequence[tuple[slice, Tensor, Tensor, Tensor]],
    ) -> Tensor:
        """Cross attention inside the last mask, self attention, feed forward; each added, then normed.

        Args:
            embeddings: (P, Q, C) of the last masks.
            looks: which prompts, and keys, values and mask features of their pictures at the layer's level.
        """
        cross = layer.cross_attn
        width = hidden.shape[-1]
        query = F.linear(hidden + query_position, cross.in_proj_weight[:width], cross.in_proj_bias[:width])
        found = [
            self._look(query[rows], key, value, embeddings[rows], mask_features)
            for rows, key, value, mask_features in looks
        ]
        hidden = layer.cross_attn_layer_norm(hidden + cross.out_proj(torch.cat(found)))

        own = layer.self_attn
        placed = hidden + query_position
        mixed = F.scaled_dot_product_attention(
            self._split_heads(own.q_proj(placed)),
            self._split_heads(own.k_proj(placed)),
            self._split_heads(own.v_proj(hidden)),
        )
        hidden = layer.self_attn_layer_norm(hidden + own.out_proj(self._join_heads(mixed)))
        forward = layer.fc2(layer.activation_fn(layer.fc1(hidden)))
        return cast(Tensor, layer.final_layer_norm(hidden + forward))

    def _look(self, query: Tensor, key: Tensor, value: Tensor, embeddings: Tensor, mask_features: Tensor) -> Tensor:
        """Cross attention of P prompts (P, Q, D) with B pictures, P / B of each one after the other."""
        count, queries, _ = query.shape
        together = (len(key), count // len(key) * queries)
        with torch.no_grad():
            inside = embeddings.reshape(*together, -1) @ mask_features >= 0
            inside |= ~inside.any(-1, keepdim=True)  # a mask that is nowhere attends everywhere
        query = self._split_heads(query.reshape(*together, -1))
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=inside[:, None])
        return self._join_heads(found).reshape(count, queries, -1)

    def _split_heads(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, heads, L, D / heads)."""
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)

    @staticmethod
    def _join_heads(x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


def _groups(picture: Tensor, pictures: int) -> list[tuple[slice, slice]]:
    """Which prompts attend together, without a copy of what they attend to: pictures, and their prompts.

    All at once if there are as many for each picture; else picture by picture.
    """
    together = [(slice(None), slice(None))]
    if pictures == 1:
        return together
    numbers = picture.tolist()
    assert numbers == sorted(numbers), "prompts come picture by picture"
    counts = [numbers.count(number) for number in range(pictures)]
    if len(set(counts)) == 1:
        return together
    starts = [sum(counts[:number]) for number in range(pictures)]
    return [
        (slice(number, number + 1), slice(start, start + count))
        for number, (start, count) in enumerate(zip(starts, counts, strict=True))
        if count
    ]
