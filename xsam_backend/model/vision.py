"""Encoders: what the language model sees, and the maps that masks are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import SamVisionConfig, SiglipVisionConfig, SiglipVisionModel
from transformers.models.sam.modeling_sam import SamVisionEncoder as HFSamVisionEncoder
from transformers.models.sam.modeling_sam import SamVisionLayer

from xsam_backend.model.config import SegmentorEncoderConfig, VisionConfig
from xsam_backend.model.connector import ChannelNorm
from xsam_backend.model.efficientnet import EfficientNetTrunk
from xsam_backend.model.tensor_memory import bytes_alive


@dataclass(frozen=True)
class EncoderMaps:
    """What a segmentor encoder gives: ``tokens`` (B, C, h, w) and a pyramid of (B, C_i, H_i, W_i), finest first."""

    tokens: Tensor
    pyramid: tuple[Tensor, ...]


@dataclass(frozen=True)
class EncoderOutputs:
    """What both encoders make of B pictures: the same in all versions of one base, since encoders aren't fine-tuned.

    Attributes:
        seen: (B, T, C), the vision encoder's tokens.
        maps: the segmentor's encoder's.
    """

    seen: Tensor
    maps: EncoderMaps

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors; ``of`` puts them together again."""
        return (self.seen, self.maps.tokens, *self.maps.pyramid)

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> EncoderOutputs:
        """From tensors in the order of ``tensors``."""
        seen, tokens, *pyramid = tensors
        return cls(seen, EncoderMaps(tokens, tuple(pyramid)))

    def on(self, device: torch.device | str) -> EncoderOutputs:
        """The same there; what is there already isn't copied."""
        return self.of([tensor.to(device) for tensor in self.tensors])

    @property
    def nbytes(self) -> int:
        """Bytes that this keeps alive."""
        return bytes_alive(self.tensors)


class SiglipEncoder(nn.Module):
    """transformers' SigLIP up to hidden state ``select_layer``; later layers, last norm and head aren't built."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        fields = dict(config.transformers)
        fields["num_hidden_layers"] += config.select_layer + 1
        fields |= {"image_size": config.image_size, "vision_use_head": False}
        siglip = SiglipVisionConfig(**fields)
        self.out_channels: int = siglip.hidden_size
        self.model = SiglipVisionModel._from_config(siglip, attn_implementation="sdpa")
        self.model.post_layernorm = nn.Identity()  # hidden states are taken before it

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, tokens, C), row-major; there is no class token."""
        return cast(Tensor, self.model(pixel_values=pixel_values).last_hidden_state)


class SamEncoder(nn.Module):
    """transformers' SAM vision encoder, its hidden states instead of its neck."""

    def __init__(self, config: SegmentorEncoderConfig) -> None:
        super().__init__()
        sam = SamVisionConfig(**config.transformers, image_size=config.image_size)
        self.select_layers = config.select_layers
        self.token_layer = config.token_layer
        self.token_channels: int = sam.hidden_size
        self.model = HFSamVisionEncoder._from_config(sam, attn_implementation="sdpa")
        self.model.neck = nn.Identity()

    def forward(self, pixel_values: Tensor) -> EncoderMaps:
        """(B, 3, S, S) to maps of stride 16; hidden states count the embeddings as number 0."""
        hidden = self.model.patch_embed(pixel_values)
        if self.model.pos_embed is not None:
            hidden = hidden + self.model.pos_embed
        states = [hidden]
        for layer in self.model.layers:
            hidden = layer(hidden)
            states.append(hidden)
        channels_first = [state.permute(0, 3, 1, 2) for state in states]
        return EncoderMaps(
            tokens=channels_first[self.token_layer],
            pyramid=tuple(channels_first[layer] for layer in self.select_layers),
        )


class EfficientNetEncoder(nn.Module):
    """EfficientNet-Lite0 with SAM vision layers on its stride-16 map, which also get a position table as SAM's do."""

    def __init__(self, config: SegmentorEncoderConfig) -> None:
        super().__init__()
        sam = SamVisionConfig(**config.transformers, image_size=config.image_size, patch_size=16)
        sam._attn_implementation = "sdpa"
        self.token_channels: int = sam.hidden_size
        side = config.image_size // 16
        self.trunk = EfficientNetTrunk()
        self.token_projection = nn.Conv2d(112, sam.hidden_size, 1)
        self.token_norm = ChannelNorm(sam.hidden_size, eps=1e-6)
        self.pos_embed = nn.Parameter(sine_positions(side, side, sam.hidden_size))
        self.layers = nn.ModuleList(SamVisionLayer(sam, window_size=0) for _ in range(sam.num_hidden_layers))

    def forward(self, pixel_values: Tensor) -> EncoderMaps:
        """(B, 3, S, S) to tokens of stride 16 and a pyramid of strides 4, 8, 16, 32."""
        _, fine, middle, coarse, coarsest = self.trunk(pixel_values)
        hidden = self.token_norm(self.token_projection(coarse)).permute(0, 2, 3, 1) + self.pos_embed
        for layer in self.layers:
            hidden = layer(hidden)
        tokens = hidden.permute(0, 3, 1, 2)
        return EncoderMaps(tokens=tokens, pyramid=(fine, middle, tokens, coarsest))


class SharedTrunkEncoder(nn.Module):
    """The language model's view through the segmentor's trunk: the coarsest map of its own, smaller picture.

    It owns no weights; the trunk is handed in at each call, so that it's saved once.
    """

    out_channels = 320

    def forward(self, pixel_values: Tensor, trunk: EfficientNetTrunk) -> Tensor:
        """(B, 3, S, S) to (B, (S/32)^2, 320), row-major."""
        coarsest: Tensor = trunk(pixel_values)[-1]
        return coarsest.flatten(2).transpose(1, 2)


def sine_positions(height: int, width: int, channels: int) -> Tensor:
    """(1, height, width, channels), half for y, half for x; few waves, so that max pooling keeps their order."""
    quarter = channels // 4
    waves = torch.pi / 2 * 2 ** torch.linspace(0, 4, quarter)

    def along(length: int) -> Tensor:
        position = (torch.arange(length) + 0.5) / length * 2 - 1
        angle = position[:, None] * waves
        return torch.cat([angle.sin(), angle.cos()], -1)

    y = along(height)[:, None].expand(height, width, -1)
    x = along(width)[None].expand(height, width, -1)
    return torch.cat([y, x], -1)[None]
