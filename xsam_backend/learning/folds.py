"""Which pictures a candidate is tested on: only such as neither it nor the deployed version has learned from.

Pictures are told apart by content, not by task: one picture in several tasks is one picture. It is learned from or
tested on, never both, and it counts once as evidence. So do all pictures of a task stay together.

- A project with PINNED_FROM pictures and more has a pinned part: every fifth picture, by content, so that a picture
  is in it for ever or never, and it grows with the project. No version learns from it. Once it has enough pictures
  that no version had learned from before they were pinned, candidates are tested on it, MOST_TESTED of it at most.
- Until then, what the deployed version hasn't learned from yet is shared out in two folds; for each, a candidate is
  trained on all the rest, and tested on it. The version that may be promoted goes on from the first of them and
  learns from all: the folds have measured the gain of that recipe's beginning. A project's first version gains much,
  if anything: where the first fold has FIRST_TESTED pictures, it is the only one, and people wait less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from xsam_backend.learning.choosing import Choice
from xsam_backend.learning.gate import MIN_PICTURES

PINNED_FROM = 60
PINNED_EVERY = 5
FOLDS = 2
FIRST_TESTED = 10
MOST_TESTED = 200
"""An exam of more would take hours and tell hardly more."""


@dataclass(frozen=True)
class Split:
    """What is learned from, and what is tested on.

    Attributes:
        learned: what the version that may be promoted learns from.
        tests: (learned, tested) of each candidate that is trained only to be tested; one pair of ``learned`` itself
            and the pinned part where that is tested on. None is without pictures.
        is_pinned: whether it is so: then the version itself is tested.
    """

    learned: tuple[Choice, ...]
    tests: tuple[tuple[tuple[Choice, ...], tuple[Choice, ...]], ...]
    is_pinned: bool


def split(choices: Sequence[Choice], known: Collection[str]) -> Split:
    """Share out a project's pictures.

    Args:
        known: SHA-256 of the pictures that the deployed version, or one that it goes on from, has learned from.
    """
    groups = sorted(_groups(choices), key=lambda group: _digest(group[0]))
    pinned: list[list[Choice]] = []
    if len({choice.picture.sha256 for choice in choices}) >= PINNED_FROM:
        pinned = [group for group in groups if _digest(group[0]) % PINNED_EVERY == 0]
    learned = _without(choices, pinned)
    tested = _tested(pinned, known, MOST_TESTED)
    if learned and len(tested) >= MIN_PICTURES:
        return Split(learned, ((learned, tested),), is_pinned=True)
    new = [group for group in groups if _tested([group], known, 1)]
    tests: list[tuple[tuple[Choice, ...], tuple[Choice, ...]]] = []
    for fold in range(FOLDS):
        if tests and not known and len(tests[0][1]) >= FIRST_TESTED:
            break
        rest = _without(learned, new[fold::FOLDS])
        tested = _tested(new[fold::FOLDS], known, MOST_TESTED // FOLDS)
        if tested and rest:
            tests.append((rest, tested))
    return Split(learned, tuple(tests), is_pinned=False)


def _groups(choices: Sequence[Choice]) -> list[list[Choice]]:
    """Choices that share a picture or a task, directly or through others; each group in the order of its choices."""
    leader: dict[object, object] = {}

    def led_by(key: object) -> object:
        while (above := leader.setdefault(key, key)) != key:
            leader[key] = leader[above]  # shortens the way for the next
            key = above
        return key

    for choice in choices:
        leader[led_by(("picture", choice.picture.sha256))] = led_by(("task", choice.task_id))
    groups: dict[object, list[Choice]] = {}
    for choice in choices:
        groups.setdefault(led_by(("task", choice.task_id)), []).append(choice)
    return list(groups.values())


def _without(choices: Sequence[Choice], groups: Iterable[list[Choice]]) -> tuple[Choice, ...]:
    left_out = {id(choice) for group in groups for choice in group}
    return tuple(choice for choice in choices if id(choice) not in left_out)


def _tested(groups: Iterable[list[Choice]], known: Collection[str], most: int) -> tuple[Choice, ...]:
    """Of each picture that isn't known, its last choice: whoever labels a picture again comes later."""
    last = {
        choice.picture.sha256: choice for group in groups for choice in group if choice.picture.sha256 not in known
    }
    return tuple(sorted(last.values(), key=_digest)[:most])


def _digest(choice: Choice) -> int:
    """The same for a picture whatever else there is, and without a pattern."""
    return int(str(choice.picture.sha256)[:15], 16)
