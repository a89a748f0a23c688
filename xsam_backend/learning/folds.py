"""Which pictures a candidate is tested on: only such as neither it nor the deployed version has learned from.

- A project with PINNED_FROM pictures and more has a pinned part: every fifth picture, by a hash of its task, so that
  a picture is in it for ever or never, and it grows with the project. No version learns from it.
- A smaller project can't spare any. What the deployed version hasn't learned from yet is shared out in two folds; for
  each, a candidate is trained on all the rest, and tested on it. The version that may be promoted learns from all,
  with the same recipe: it's that recipe's gain which the folds have measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from xsam_backend.learning.choosing import Choice

PINNED_FROM = 60
PINNED_EVERY = 5
FOLDS = 2


@dataclass(frozen=True)
class Split:
    """What is learned from, and what is tested on.

    Attributes:
        learned: what the version that may be promoted learns from.
        tests: (learned, tested) of each candidate that is trained only to be tested; one pair of ``learned`` itself
            and the pinned part where there is one.
        is_pinned: whether it is so: then the version itself is tested.
    """

    learned: tuple[Choice, ...]
    tests: tuple[tuple[tuple[Choice, ...], tuple[Choice, ...]], ...]
    is_pinned: bool


def split(choices: Sequence[Choice], known: Collection[str]) -> Split:
    """Share out a project's pictures.

    Args:
        known: SHA-256 of the pictures that the deployed version has learned from.
    """
    if len(choices) >= PINNED_FROM:
        pinned = tuple(choice for choice in choices if _digest(choice) % PINNED_EVERY == 0)
        learned = tuple(choice for choice in choices if _digest(choice) % PINNED_EVERY != 0)
        unknown = tuple(choice for choice in pinned if choice.picture.sha256 not in known)
        return Split(learned, ((learned, unknown),), is_pinned=True)
    new = sorted((choice for choice in choices if choice.picture.sha256 not in known), key=_digest)
    tests = []
    for fold in range(FOLDS):
        tested = tuple(new[fold::FOLDS])
        left_out = {id(choice) for choice in tested}
        learned = tuple(choice for choice in choices if id(choice) not in left_out)
        if tested and learned:
            tests.append((learned, tested))
    return Split(tuple(choices), tuple(tests), is_pinned=False)


def _digest(choice: Choice) -> int:
    """The same for a task whatever else there is, and without a pattern."""
    return int.from_bytes(hashlib.sha256(str(choice.task_id).encode()).digest()[:8], "big")
