"""How like are two texts, by their words alone: for captions CIDEr-D, for phrases the words they share.

The field's tools for captions need Java (PTB tokens, METEOR) or downloaded data (WordNet for METEOR, a BERT for
phrases), so none of them runs here: METEOR is left out, phrases are compared by their words, and CIDEr-D is written
after its paper (Vedantam, Zitnick and Parikh 2015, arXiv 1411.5726, section 5) with raw counts as term frequencies,
as its authors' program has them. Words are lower-case runs of letters and digits; PTB also parts contractions.
(The aac-metrics package has CIDEr-D without Java, but brings audio models along; the scores are equal.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LONGEST_NGRAM = 4
LENGTH_SIGMA = 6.0
"""Words: how much longer or shorter a caption may be before that counts."""

ARTICLES = frozenset(("a", "an", "the"))

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")

Ngrams = Counter[tuple[str, ...]]


def words(text: str) -> list[str]:
    """Lower-case words without punctuation: "A ball, on it a dog's hair." -> a, ball, on, it, a, dog's, hair.

    Hyphens and apostrophes within a word stay.
    """
    return _WORD.findall(text.lower())


def word_overlap(first: str, second: str) -> float:
    """Twice the words in common over the words of both, 0..1, articles left out; 1 for two texts without words.

    "a red ball" and "the ball" give 2 / 3, "a red ball" and "a blue ball" 1 / 2.
    """
    counts = [Counter(word for word in words(text) if word not in ARTICLES) for text in (first, second)]
    total = counts[0].total() + counts[1].total()
    return 2 * (counts[0] & counts[1]).total() / total if total else 1.0


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """float64 (N,), 0..10: each picture's CIDEr-D; the measure is their mean.

    Words that the references of many pictures hold say little, so scores depend on all pictures given; a single one
    has no score (nan). A caption of k < 4 words has no longer sequences and scores at most 10 k / 4.

    Raises:
        ValueError: other counts of captions and references, or a picture without a reference.
    """
    if len(captions) != len(references) or not all(references):
        raise ValueError(
            f"expected at least one reference for each of {len(captions)} captions, "
            f"got {[len(texts) for texts in references]}"
        )
    if len(captions) < 2:
        return np.full(len(captions), np.nan)
    counted = [[_ngrams(text) for text in texts] for texts in references]
    pictures_with: Counter[tuple[str, ...]] = Counter()
    for own in counted:
        pictures_with.update({gram for orders in own for grams in orders for gram in grams})
    rarity = _Rarity(pictures_with, len(captions))
    scores = [
        np.mean([_similarity(_ngrams(caption), reference, rarity) for reference in own])
        for caption, own in zip(captions, counted, strict=True)
    ]
    return np.array(scores)


class _Rarity:
    """The logarithm of how many pictures there are for each whose references hold a sequence of words."""

    def __init__(self, pictures_with: Counter[tuple[str, ...]], pictures: int) -> None:
        self._pictures_with, self._pictures = pictures_with, pictures

    def weights(self, grams: Ngrams) -> dict[tuple[str, ...], float]:
        """Count times rarity of each; what no reference holds is as rare as what one holds."""
        return {
            gram: count * float(np.log(self._pictures / max(1, self._pictures_with[gram])))
            for gram, count in grams.items()
        }


def _ngrams(text: str) -> list[Ngrams]:
    """How often each sequence of one word, two, three and four is there."""
    own = words(text)
    return [
        Counter(tuple(own[start : start + order]) for start in range(len(own) - order + 1))
        for order in range(1, LONGEST_NGRAM + 1)
    ]


def _similarity(caption: list[Ngrams], reference: list[Ngrams], rarity: _Rarity) -> float:
    """CIDEr-D of one caption against one reference, 0..10."""
    difference = caption[0].total() - reference[0].total()
    total = 0.0
    for ours, theirs in zip(map(rarity.weights, caption), map(rarity.weights, reference), strict=True):
        # Repeating a word doesn't help: it counts at most as often as the reference has it.
        shared = sum(min(weight, theirs[gram]) * theirs[gram] for gram, weight in ours.items() if gram in theirs)
        norms = np.linalg.norm(list(ours.values())) * np.linalg.norm(list(theirs.values()))
        total += float(shared / norms) if norms else 0.0
    return 10 * float(np.exp(-(difference**2) / (2 * LENGTH_SIGMA**2))) * total / LONGEST_NGRAM
