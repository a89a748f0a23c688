"""Deformable attention on a CPU: transformers' numbers, and in bfloat16 numbers near those."""

from __future__ import annotations

import torch

from xsam_backend.model import deformable
from xsam_backend.model.checkpoint import load_model, load_tokenizer
from xsam_backend.model.folders import SHIPPED
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


def test_the_numbers_are_those_of_transformers() -> None:
    """And their gradients; some places lie outside the picture, and levels differ in shape."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(5, 4), (10, 8), (3, 7)]
    value = torch.randn(2, sum(height * width for height, width in sizes), 6, 16, generator=generator)
    locations = torch.rand(2, 30, 6, len(sizes), 4, 2, generator=generator) * 1.4 - 0.2
    weights = torch.rand(2, 30, 6, len(sizes), 4, generator=generator)
    given = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    found = []
    for attention in (deformable._attention, deformable._on_any_device):
        read = attention(value, sizes, locations, weights)
        found.append((read, *torch.autograd.grad(read.square().sum(), given)))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
