from __future__ import annotations

import torch
from small_models import small_model

from xsam_backend.training.initialization import initialize_segmentor


def test_every_head_looks_in_another_direction_and_points_ever_further() -> None:
    model = small_model()
    initialize_segmentor(model.segmentor)
    attention = model.segmentor.pixel_decoder.encoder.layers[0].self_attn
    offsets = attention.sampling_offsets.bias.view(attention.n_heads, attention.n_levels, attention.n_points, 2)
    lengths = offsets.abs().amax(-1)
    expected = torch.arange(1.0, attention.n_points + 1).expand_as(lengths)
    torch.testing.assert_close(lengths, expected)
    first = torch.nn.functional.normalize(offsets[:, 0, 0], dim=-1)
    cosine = first @ first.T - 2 * torch.eye(len(first))
    assert cosine.max() < 0.99, "two heads look the same way"
    assert not attention.sampling_offsets.weight.any()
