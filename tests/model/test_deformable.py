"""A picture in bfloat16 on a CPU: every number is one, and near those of float32."""

from __future__ import annotations

import torch

from xsam_backend.model.checkpoint import SHIPPED, load_model, load_tokenizer
from xsam_backend.model.predictor import Predictor
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, draw_scene


def test_sixteen_bits_are_sampled_rightly() -> None:
    """One picture alone: several together were right before."""
    picture = draw_scene(FIRST_HELD_OUT_SEED).image
    short, full = (
        Predictor(load_model(SHIPPED / "tiny", dtype), load_tokenizer(SHIPPED / "tiny"), "v").encode(picture)
        for dtype in (torch.bfloat16, torch.float32)
    )
    for one, other in zip(short.encoded.features.tensors, full.encoded.features.tensors, strict=True):
        assert torch.isfinite(one).all()
        away = (one.float() - other).norm() / other.norm()
        assert away < 0.1
