"""X-SAMs of random weights, small enough to build in a test: every part is there, nothing is learned."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from xsam_backend.model.checkpoint import load_tokenizer
from xsam_backend.model.config import (
    ConnectorConfig,
    LossConfig,
    SegmentorConfig,
    SegmentorEncoderConfig,
    VisionConfig,
    XSamConfig,
)
from xsam_backend.model.folders import SHIPPED
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.xsam import XSam

SIDE = 64
"""Of the segmentor's padded frame; mask logits are a quarter of it."""

_SAM = {"hidden_size": 32, "num_attention_heads": 2, "mlp_dim": 32}

_PHI3 = {
    "model_type": "phi3",
    "original_max_position_embeddings": 2048,
    "sliding_window": 48,
    "bos_token_id": 1,
    "pad_token_id": 0,
}
_QWEN3 = {"model_type": "qwen3", "head_dim": 16, "tie_word_embeddings": True}


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    """The shipped one."""
    return load_tokenizer(SHIPPED / "tiny")


def small_config(*, encoders: str = "shared", language: str = "phi3", **changes: Any) -> XSamConfig:
    """Sizes of a small X-SAM.

    Args:
        encoders: "shared" as in the shipped model, "released" for SigLIP and SAM.
        language: "phi3", with a sliding window, or "qwen3", with tied embeddings.
        changes: other fields of the config.
    """
    shared = encoders == "shared"
    if shared:
        vision = VisionConfig("shared", SIDE)
        encoder = SegmentorEncoderConfig(
            "efficientnet",
            SIDE,
            transformers={**_SAM, "num_hidden_layers": 1, "use_rel_pos": False, "global_attn_indexes": [0]},
        )
    else:
        siglip = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
        vision = VisionConfig("siglip", 28, transformers={**siglip, "patch_size": 14})
        sam = {**_SAM, "output_channels": 8, "num_hidden_layers": 4, "window_size": 3, "global_attn_indexes": [1, 3]}
        encoder = SegmentorEncoderConfig("sam", SIDE, (2, 3, 4), transformers=sam)
    config = XSamConfig(
        name="small",
        language={
            **(_PHI3 if language == "phi3" else _QWEN3),
            "vocab_size": len(tokenizer()),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "eos_token_id": 2,
        },
        vision=vision,
        segmentor_encoder=encoder,
        connector=ConnectorConfig((24, 40, 32, 320), (1.0,) * 4, (32,) * 4, 16)
        if shared
        else ConnectorConfig((32,) * 3, (2.0, 1.0, 0.5), (16, 32, 32), 16),
        segmentor=SegmentorConfig(
            feature_size=32,
            mask_feature_size=16,
            hidden_dim=32,
            num_queries=8,
            num_attention_heads=4,
            encoder_layers=1,
            encoder_feedforward_dim=32,
            decoder_layers=4,
            dim_feedforward=32,
        ),
        losses=LossConfig(num_points=64),
        chat_template="phi3_chat",  # what the tokenizer knows
        max_text_tokens=256,
        region_points=32,
    )
    return replace(config, **changes)


def small_model(seed: int = 0, **config: Any) -> XSam:
    """A model of ``small_config(**config)`` whose random weights are the same for one seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return XSam(small_config(**config)).eval()


def small_predictor(seed: int = 0, **config: Any) -> Predictor:
    """A predictor with such a model."""
    return Predictor(small_model(seed, **config), tokenizer(), f"small-{seed}")


def noise_picture(seed: int = 0, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 (H, W, 3), smooth enough to have shapes."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    rows = np.arange(size_hw[0]) * 6 // size_hw[0]
    columns = np.arange(size_hw[1]) * 8 // size_hw[1]
    return coarse[rows][:, columns]
