"""First values of tiny's token embeddings: what all-MiniLM-L6-v2 makes of each piece, brought down to tiny's width.

Tiny is trained on few words. With these "puppy" lies beside "dog" before the first step, so that a phrase that no
training picture shows can still be answered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xsam_backend.errors import SettingsError
from xsam_backend.training.pretrained import MINILM_WIDTH, embed_texts, frequent_words
from xsam_backend.training.vocabulary import MARK

Floats = NDArray[np.floating[Any]]

SPELT_WORDS = 5_000
"""How many of the most frequent words, less those that are one piece, tell what the pieces of a word mean."""

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def token_embeddings(tokenizer: Any, width: int, *, std: float = 0.02, seed: int = 0) -> Tensor:
    """Float32 (V, width), a row per id of ``tokenizer``; every row of length ``std * sqrt(width)``.

    A word's row is the embedding of the word, a sub-word's the mean over the words that are spelt with it, weighted
    by 1 / rank. Of these the mean is taken off and the ``width`` directions that differ most are kept. Special
    tokens, bytes and pieces in no word are drawn at random. Case and the blank before a word make no difference here:
    "Dog" and " dog" start with equal rows, and training tells them apart.

    Raises:
        CheckpointError: all-MiniLM-L6-v2 is not installed.
        SettingsError: ``width`` is more than its 384.
    """
    if width > MINILM_WIDTH:
        raise SettingsError(
            f"expected a width of {MINILM_WIDTH} at most, which is what all-MiniLM-L6-v2 has, got {width}: "
            "take a narrower language model, or start its embeddings at random"
        )
    size = len(tokenizer)
    surfaces = {row: text for row in range(size) if (text := _surface(tokenizer, row))}
    rows = list(surfaces)
    meanings = embed_texts(list(surfaces.values())).numpy()
    centre, directions = principal_directions(meanings, width)
    embeddings = np.random.default_rng(seed).standard_normal((size, width))
    embeddings[rows] = (meanings - centre) @ directions.T
    part_rows, part_meanings = _spelt_pieces(tokenizer, skipped=set(rows))
    embeddings[part_rows] = (part_meanings - centre) @ directions.T
    embeddings *= std * np.sqrt(width) / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return torch.from_numpy(embeddings.astype(np.float32))


def principal_directions(points: Floats, count: int) -> tuple[Floats, Floats]:
    """Mean (D,) of (N, D) points, and the ``count`` orthonormal directions (count, D) along which they vary most.

    A direction's sign is arbitrary; the largest of its entries is made positive, so that machines agree.
    """
    centre = points.mean(axis=0)
    _, _, directions = np.linalg.svd((points - centre).astype(np.float64), full_matrices=False)
    directions = directions[:count]
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)]
    return centre, directions * np.sign(largest)[:, None]


def nearest_pieces(embeddings: Tensor, tokenizer: Any, piece: str, count: int = 10) -> list[str]:
    """The other pieces whose rows point most nearly the same way as that of ``piece``, nearest first."""
    unit = torch.nn.functional.normalize(embeddings, dim=-1)
    row = tokenizer.convert_tokens_to_ids(piece)
    order = (unit @ unit[row]).argsort(descending=True, stable=True).tolist()
    return [tokenizer.convert_ids_to_tokens(other) for other in order if other != row][:count]


def _surface(tokenizer: Any, row: int) -> str:
    """The text that a piece stands for on its own: of words, marks and digits. Empty for those that are no text."""
    piece: str = tokenizer.convert_ids_to_tokens(row)
    if row in tokenizer.added_tokens_decoder or _BYTE.fullmatch(piece):
        return ""
    if piece.startswith(MARK):
        return piece.removeprefix(MARK)
    # Without the mark only these are whole: a question's first word, and marks and digits behind a word.
    return piece if (piece[0].isupper() and len(piece) > 1) or not piece[0].isalpha() else ""


def _spelt_pieces(tokenizer: Any, skipped: set[int]) -> tuple[list[int], Floats]:
    """Rows (n) of pieces that words are spelt with, less ``skipped``, and the mean meaning (n, D) of those words."""
    spellings = [(word, tokenizer.encode(word, add_special_tokens=False)) for word in frequent_words()[:SPELT_WORDS]]
    spelt = [(word, pieces) for word, pieces in spellings if len(pieces) > 1]
    return _weighted_means(embed_texts([word for word, _ in spelt]).numpy(), [pieces for _, pieces in spelt], skipped)


def _weighted_means(
    meanings: Floats, spellings: Sequence[Sequence[int]], skipped: set[int]
) -> tuple[list[int], Floats]:
    """Row -> mean of ``meanings`` (N, D) of the words spelt with it; the word of rank r weighs 1 / r."""
    sums: dict[int, Any] = {}
    weights: dict[int, float] = {}
    for rank, (meaning, pieces) in enumerate(zip(meanings, spellings, strict=True), start=1):
        for row in set(pieces) - skipped:
            sums[row] = sums.get(row, 0.0) + meaning / rank
            weights[row] = weights.get(row, 0.0) + 1 / rank
    rows = sorted(sums)
    return rows, np.array([sums[row] / weights[row] for row in rows]).reshape(len(rows), meanings.shape[1])
