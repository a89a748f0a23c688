"""From a picture with its truth to training questions: what is asked, with which regions, and what is right.

One question is one conversation turn with its targets. Names are asked as generic segmentation with absent names
among them, phrases as referring, questions as reasoning, captions as GCG, regions as VGD and interactive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.simulated_prompts import (
    centre_click,
    exact_box,
    jittered_box,
    random_click,
    rough_mask,
    scribble,
)
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.model.turns import (
    Turn,
    conversation_turn,
    gcg_turn,
    generic_turn,
    interactive_turn,
    reasoning_turn,
    referring_turn,
    vgd_turn,
)
from xsam_backend.prompts import Region, Task
from xsam_backend.region_masks import region_mask

Mask = NDArray[np.bool_]
Rng = np.random.Generator

CLICKS: tuple[tuple[float, Callable[[Mask, Rng], Region]], ...] = (
    (0.20, lambda mask, rng: centre_click(mask)),
    (0.20, random_click),
)
OUTLINES: tuple[tuple[float, Callable[[Mask, Rng], Region]], ...] = (
    (0.20, lambda mask, rng: exact_box(mask)),
    (0.22, jittered_box),
    (0.10, scribble),
    (0.08, rough_mask),
)
"""How often each kind of hint is simulated: the shares of both add up to 1."""


ABSENT_SHARE = 0.3
"""Of the names asked for as phrases, so many are of nothing that is there, where that is known."""

LONG_LIST_SHARE = 0.5
"""Of the lists of names, so many have all that are there among any number of others, as whole label sets do."""

FIRST_CAPTION_SHARE = 0.97
"""So often a picture's first caption is what should have been said, which in drawn scenes names everything."""


@dataclass(frozen=True)
class Asking:
    """How pictures of one source are asked about.

    Attributes:
        names: pool of class names to draw absent ones from.
        least_px: instances with fewer visible pixels are not asked for one by one.
        by_area: objects are pointed at by the square root of their area: a large one is as telling as several small
            ones. Otherwise each as often as another.
    """

    names: Sequence[str]
    least_px: int
    by_area: bool = True


@dataclass(frozen=True)
class Question:
    """One turn and its truth.

    Attributes:
        task: decides the layout of conditions (one phrase each, or a list).
        turn: what is said.
        regions: bool (H, W) each, for the turn's region placeholders.
        targets: (mask, condition) of everything that is to be found; empty where nothing is.
    """

    task: Task
    turn: Turn
    regions: tuple[Mask, ...] = ()
    targets: tuple[tuple[Mask, int], ...] = ()


def ask(truth: GroundTruth, mix: Mapping[Task, float], rng: Rng, asking: Asking) -> list[Question]:
    """Questions that this picture can answer: ``mix[task]`` of each task, fractions by chance."""
    questions: list[Question] = []
    for task, count in mix.items():
        for _ in range(int(count + rng.random())):
            question = _ASKERS[task](truth, rng, asking)
            if question is not None:
                questions.append(question)
    return questions


def _interactive(truth: GroundTruth, rng: Rng, asking: Asking) -> Question | None:
    """A click means the smallest thing that lies there: on a house it isn't simulated where a window is."""
    index = _pick_instance(truth, rng, asking)
    if index is None:
        return None
    mask = truth.masks[index]
    shown = _uncovered(truth, index)
    hint = _hint(mask, rng, shown if shown.sum() >= asking.least_px else mask)
    return Question(Task.INTERACTIVE, interactive_turn(rng=rng), (hint,), ((mask, 0),))


def _vgd(truth: GroundTruth, rng: Rng, asking: Asking) -> Question | None:
    """All instances like each exemplar. Only for names of which every instance is known."""
    usable = [
        i
        for i in _instances(truth, asking.least_px)
        if truth.names[i] in truth.complete_for and not _has_crowd(truth, i)
    ]
    if not usable:
        return None
    kinds = sorted({truth.names[i] for i in usable})
    chosen = list(rng.permutation(kinds)[: int(rng.integers(1, min(3, len(kinds)) + 1))])
    regions, targets = [], []
    for condition, name in enumerate(chosen):
        exemplar = rng.choice([i for i in usable if truth.names[i] == name])
        regions.append(_hint(truth.masks[exemplar], rng, truth.masks[exemplar]))
        targets += [(truth.masks[i], condition) for i in _named(truth, name)]
    return Question(Task.VGD, vgd_turn(len(regions), rng=rng), tuple(regions), tuple(targets))


def _generic(truth: GroundTruth, rng: Rng, asking: Asking) -> Question | None:
    """Several names at once, some of them absent; names that aren't fully labelled are left out of the question."""
    present = sorted({name for i, name in enumerate(truth.names) if name in truth.complete_for})
    present = [name for name in present if not any(truth.is_crowd[i] for i in _named(truth, name, crowd=True))]
    absent = sorted((truth.complete_for & set(asking.names)) - set(truth.names))
    if not present:
        return None
    if rng.random() < LONG_LIST_SHARE:
        chosen = present + list(rng.permutation(absent)[: int(rng.integers(0, len(absent) + 1))])
    else:
        chosen = list(rng.permutation(present)[: int(rng.integers(1, min(len(present), 8) + 1))])
        chosen += list(rng.permutation(absent)[: int(rng.integers(0, 4))])
    order = rng.permutation(len(chosen))
    asked = [str(chosen[i]) for i in order]
    targets = [(truth.masks[i], c) for c, name in enumerate(asked) for i in _named(truth, name)]
    return Question(Task.GENERIC, generic_turn(asked, rng=rng), (), tuple(targets))


def _referring(truth: GroundTruth, rng: Rng, asking: Asking) -> Question | None:
    """A phrase with its expression's segments together; where there are none, a class name and all of that class."""
    if truth.referring:
        expression = truth.referring[rng.integers(len(truth.referring))]
        phrase, segments = expression.text, expression.segments
    else:
        usable = [name for name in set(truth.names) if name in truth.complete_for]
        absent = sorted((truth.complete_for & set(asking.names)) - set(truth.names))
        if absent and (not usable or rng.random() < ABSENT_SHARE):
            phrase, segments = str(rng.choice(absent)), ()
        elif usable:
            phrase = str(rng.choice(sorted(usable)))
            segments = tuple(_named(truth, phrase, crowd=True))
        else:
            return None
    mask = truth.union(segments)
    return Question(Task.REFERRING, referring_turn(phrase, rng=rng), (), ((mask, 0),) if mask.any() else ())


def _reasoning(truth: GroundTruth, rng: Rng, asking: Asking) -> Question | None:
    if not truth.questions:
        return None
    expression = truth.questions[rng.integers(len(truth.questions))]
    mask = truth.union(expression.segments)
    return Question(Task.REASONING, reasoning_turn(expression.text, rng=rng), (), ((mask, 0),) if mask.any() else ())


def _gcg(truth: GroundTruth, rng: Rng, asking: Asking) -> Question | None:
    grounded = [caption for caption in truth.captions if caption.spans]
    if not grounded:
        return None
    caption = grounded[0 if rng.random() < FIRST_CAPTION_SHARE else rng.integers(len(grounded))]
    spans = sorted(caption.spans)
    turn = gcg_turn(caption.text, [(start, end) for start, end, _ in spans], rng=rng)
    targets = [(truth.union(segments), i) for i, (_, _, segments) in enumerate(spans)]
    return Question(Task.GCG, turn, (), tuple((mask, i) for mask, i in targets if mask.any()))


def _conversation(truth: GroundTruth, rng: Rng, asking: Asking) -> Question | None:
    answered = [question for question in truth.questions if question.answer]
    if not answered:
        return None
    question = answered[rng.integers(len(answered))]
    return Question(Task.CONVERSATION, conversation_turn(question.text, question.answer))


_ASKERS: Mapping[Task, Callable[[GroundTruth, Rng, Asking], Question | None]] = {
    Task.INTERACTIVE: _interactive,
    Task.VGD: _vgd,
    Task.GENERIC: _generic,
    Task.REFERRING: _referring,
    Task.REASONING: _reasoning,
    Task.GCG: _gcg,
    Task.CONVERSATION: _conversation,
}


def _hint(mask: Mask, rng: Rng, shown: Mask) -> Mask:
    """A simulated region prompt for a mask, as the mask that the model samples; clicks are on what is shown of it."""
    hints = (*((share, simulate, shown) for share, simulate in CLICKS), *((*hint, mask) for hint in OUTLINES))
    limits = np.cumsum([share for share, _, _ in hints])
    _, simulate, on = hints[int(np.searchsorted(limits, rng.random() * limits[-1], side="right"))]
    return region_mask(simulate(on, rng), (mask.shape[0], mask.shape[1]))


def _uncovered(truth: GroundTruth, index: int) -> Mask:
    """A segment without the smaller ones that lie on it; bool (H, W)."""
    areas = truth.masks.sum((1, 2))
    smaller: Mask = truth.masks[areas < areas[index]].any(0)
    return np.asarray(truth.masks[index] & ~smaller, np.bool_)


def _instances(truth: GroundTruth, least_px: int) -> list[int]:
    areas = truth.masks.sum((1, 2))
    return [i for i in range(len(areas)) if areas[i] >= least_px and not truth.is_crowd[i]]


def _pick_instance(truth: GroundTruth, rng: Rng, asking: Asking) -> int | None:
    """Things and stuff alike; those with more emphasis more often."""
    candidates = _instances(truth, asking.least_px)
    if not candidates:
        return None
    areas = truth.masks[candidates].sum((1, 2)).astype(float)
    weight = np.sqrt(areas) if asking.by_area else np.ones_like(areas)
    if truth.emphasis is not None:
        weight = weight * truth.emphasis[candidates]
    return int(rng.choice(candidates, p=weight / weight.sum()))


def _named(truth: GroundTruth, name: str, crowd: bool = False) -> list[int]:
    return [i for i, own in enumerate(truth.names) if own == name and (crowd or not truth.is_crowd[i])]


def _has_crowd(truth: GroundTruth, index: int) -> bool:
    return any(truth.is_crowd[i] for i in _named(truth, truth.names[index], crowd=True))
