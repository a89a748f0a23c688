"""What a picture looks like, in a few numbers: alike for alike pictures, the same in every version of a base."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import noise_picture, small_model, small_predictor, tokenizer

from xsam_backend.model.delta import Delta, with_delta
from xsam_backend.model.picture_vector import SIZE, picture_vector
from xsam_backend.model.predictor import Predictor


@pytest.mark.parametrize("channels", [8, 64, 1152])
def test_distances_stay_about_as_they_were(channels: int) -> None:
    """Random summaries of length 1: their angles survive. (In few channels nothing is lost at all.)"""
    rng = np.random.default_rng(channels)
    summaries = rng.normal(size=(40, channels))
    summaries /= np.linalg.norm(summaries, axis=1, keepdims=True)
    vectors = np.stack([picture_vector(torch.from_numpy(one)) for one in summaries])
    assert vectors.shape == (40, SIZE)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors @ vectors.T - summaries @ summaries.T).mean() < 0.15


def test_nothing_seen_is_no_division_by_nothing() -> None:
    assert not picture_vector(torch.zeros(8)).any()


def test_pictures_are_told_apart_and_versions_are_not() -> None:
    predictor = small_predictor()
    one, other = (predictor.encode(noise_picture(seed=seed)).vector for seed in (1, 2))
    assert np.linalg.norm(one - other) > 1e-4
    model = small_model()
    base = Predictor(model, tokenizer(), "small-1")
    changes = {
        name: parameter.detach() + 0.5
        for name, parameter in model.named_parameters()
        if name.startswith(("visual_projector", "seg_projector", "connector"))
    }
    version = Predictor(with_delta(model, "small-1", Delta("small-1", 1.0, {}, changes)), tokenizer(), "small-1+a")
    picture = noise_picture(seed=1)
    np.testing.assert_allclose(version.encode(picture).vector, base.encode(picture).vector, atol=1e-6)
    assert not torch.allclose(
        version.encode(picture).encoded.features.tokens, base.encode(picture).encoded.features.tokens
    )
