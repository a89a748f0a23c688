"""X-SAMs by size: the shipped one, and larger ones with random weights, whose arithmetic is that of learned ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import torch

from xsam_backend.model.checkpoint import load_tokenizer, save_model
from xsam_backend.model.config import ConnectorConfig, XSamConfig
from xsam_backend.model.folders import SHIPPED
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.model.xsam import XSam

SIZES = ("tiny", "mid")


def mid_config(vocabulary: int) -> XSamConfig:
    """The released architecture with SAM-B, SigLIP-base and a language model of 12 layers, 768 wide."""
    released = XSamConfig.variant("phi3")
    wide, layers, heads = 768, 12, 12
    encoder = replace(
        released.segmentor_encoder,
        select_layers=(6, 9, 12),
        transformers={
            **released.segmentor_encoder.transformers,
            "hidden_size": wide,
            "mlp_dim": 4 * wide,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "global_attn_indexes": [2, 5, 8, 11],
        },
    )
    siglip = {"hidden_size": wide, "intermediate_size": 4 * wide, "num_hidden_layers": layers, "patch_size": 16}
    return replace(
        released,
        name="mid",
        language={
            **released.language,
            "vocab_size": vocabulary,
            "hidden_size": wide,
            "intermediate_size": 2048,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        vision=replace(
            released.vision,
            transformers={**released.vision.transformers, **siglip, "num_attention_heads": heads},
        ),
        segmentor_encoder=encoder,
        connector=ConnectorConfig((wide,) * 3, *_shapes(released.connector)),
    )


def _shapes(connector: ConnectorConfig) -> tuple[tuple[float, ...], tuple[int, ...], int]:
    return connector.scale_factors, connector.out_channels, connector.hidden_channels


def predictor_of_size(size: str, device: str) -> Predictor:
    """One of ``SIZES``; "mid" in float32 on a CPU, in bfloat16 on a GPU."""
    if size == "tiny":
        return load_predictor("tiny", device)
    tokenizer = load_tokenizer(SHIPPED / "tiny")
    torch.manual_seed(0)
    model = XSam(mid_config(len(tokenizer)))
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    return Predictor(model.to(device, dtype), tokenizer, "mid")


def model_folder_of_size(size: str, folder: Path) -> str:
    """What a service's setting "model" says for one of ``SIZES``; the weights are written to ``folder`` where they
    aren't shipped."""
    if size == "tiny":
        return size
    save_model(predictor_of_size(size, "cpu").model, folder, torch.float32)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / "tiny" / name, folder)
    return str(folder)
