"""The shipped model, ``tiny``: its sizes, and where its weights start. ``configs/tiny.toml`` is its training."""

from __future__ import annotations

from typing import Any

import torch

from xsam_backend.model.config import (
    ConnectorConfig,
    LossConfig,
    SegmentorConfig,
    SegmentorEncoderConfig,
    VisionConfig,
    XSamConfig,
)
from xsam_backend.model.efficientnet import PIXEL_MEAN, PIXEL_STD
from xsam_backend.model.vision import EfficientNetEncoder
from xsam_backend.model.xsam import XSam
from xsam_backend.training.initialization import initialize_segmentor
from xsam_backend.training.pretrained import load_pretrained_trunk
from xsam_backend.training.token_embeddings import token_embeddings

SIDE = 320
WIDTH = 256

TUNING_EVERY = 10
"""Every tenth training photo is set aside for tuning; it's never trained on (``leave_out_every`` of the config)."""


def tiny_config(vocabulary: int) -> XSamConfig:
    """Sizes: about ten million parameters."""
    return XSamConfig(
        name="tiny",
        language={
            "model_type": "phi3",
            "vocab_size": vocabulary,
            "hidden_size": WIDTH,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 2048,
            "original_max_position_embeddings": 2048,
            "sliding_window": None,
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        vision=VisionConfig("shared", 224, mean=PIXEL_MEAN, std=PIXEL_STD),
        segmentor_encoder=SegmentorEncoderConfig(
            "efficientnet",
            SIDE,
            mean=PIXEL_MEAN,
            std=PIXEL_STD,
            transformers={
                "hidden_size": 192,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "mlp_dim": 512,
                "use_rel_pos": False,
                "global_attn_indexes": [0, 1],
            },
        ),
        connector=ConnectorConfig((24, 40, 192, 320), (1.0, 1.0, 1.0, 1.0), (64, 96, 96, 96), 64),
        segmentor=SegmentorConfig(
            feature_size=96,
            mask_feature_size=64,
            hidden_dim=96,
            num_queries=40,
            num_attention_heads=6,
            encoder_layers=2,
            encoder_feedforward_dim=384,
            decoder_layers=7,
            dim_feedforward=384,
        ),
        losses=LossConfig(class_weight=4.0, num_points=512, language_weight=10.0),
        chat_template="phi3_chat",
        max_text_tokens=512,
        close_up_share=0.5,
        refines_clicks=True,
        closest_tiles=12,
        phrase_sharpness=6.0,
    )


def start(tokenizer: Any, seed: int) -> XSam:
    """Random weights but for the image trunk (ImageNet) and the token embeddings (all-MiniLM-L6-v2)."""
    torch.manual_seed(seed)
    model = XSam(tiny_config(len(tokenizer)))
    assert isinstance(model.segmentor_encoder, EfficientNetEncoder)
    model.segmentor_encoder.trunk.load_state_dict(load_pretrained_trunk().state_dict())
    with torch.no_grad():
        model.language.model.get_input_embeddings().weight.copy_(token_embeddings(tokenizer, WIDTH))
        # The language states of every condition pass here: it must not start near zero.
        torch.nn.init.normal_(model.background.weight, std=0.5)
    initialize_segmentor(model.segmentor)
    return model
