"""One exchange with X-SAM about a picture: a builder per task, and what makes a user's words fit to be read.

Text of a user is cleared of the strings that steer the model (``<p>``, ``<SEG>``, ``<image>``, chat tokens).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xsam_backend.errors import PromptError
from xsam_backend.model.wordings import (
    FORCED_ANSWER,
    GCG,
    GENERIC,
    GENERIC_CAPTION,
    PHRASE_CLOSE,
    PHRASE_OPEN,
    REASONING,
    REFERRING,
    REGION,
    VGD,
    ReasoningForm,
    Wording,
)

_STEERING = re.compile(r"<SEG>|<CLS>|</?p>|<image>|<region>|</?s>|<unk>|</?think>|<\|[^<>|]*\|>", re.IGNORECASE)


@dataclass(frozen=True)
class Turn:
    """One exchange. ``question`` comes without the picture's placeholder, which ``tokenize`` puts before the first.

    ``answer`` is empty where the model is to generate it.
    """

    question: str
    answer: str = ""


def plain_text(text: str) -> str:
    """A user's text without the strings that steer the model, stripped. Unchanged apart from that."""
    return _cleared(text).strip()


def clean_category(name: str) -> str:
    """The words that the model reads for a class name: "floor-wood-merged" becomes "floor wood".

    Suffixes go before lower-casing, as in the reference: "Sky-Other" becomes "sky other".
    """
    for suffix in ("-merged", "-other", "-stuff"):
        name = name.replace(suffix, "")
    return plain_text(name.replace("-", " ").lower())


def clean_semantic_category(name: str, rng: np.random.Generator | None = None) -> str:
    """``clean_category`` for data sets with names like "wall_(indoor)" and "dog:tail".

    What follows "_(" is dropped. A part reads "dog tail" or, by ``rng``'s choice, "the tail of the dog".
    """
    name = name.split("_(")[0]
    if name.count(":") == 1:
        whole, part = (words.strip() for words in name.split(":"))
        name = f"the {part} of the {whole}" if rng is not None and rng.random() < 0.5 else f"{whole} {part}"
    return clean_category(name)


def generic_turn(
    categories: Sequence[str], *, caption: str = "", variant: int = 0, rng: np.random.Generator | None = None
) -> Turn:
    """Ask for all of several categories at once (generic and open-vocabulary segmentation).

    ``categories`` are raw names, cleaned here; condition i is category i. With ``caption`` the question asks for a
    description too, and the answer begins with it. ``rng`` draws question and answer, else ``variant`` is asked.

    Raises:
        PromptError: no category, or one without words.
    """
    if not categories:
        raise PromptError("expected at least one category, got none: name what to look for")
    listed = ", ".join(_tagged(clean_category(name), f"category {name!r}") for name in categories)
    if not caption:
        return _turn(GENERIC, listed, variant, rng)
    turn = _turn(GENERIC_CAPTION, listed, variant, rng)
    return Turn(turn.question, turn.answer.format(plain_text(caption)))


def referring_turn(phrase: str, *, variant: int = 0, rng: np.random.Generator | None = None) -> Turn:
    """Ask for what ``phrase`` describes ("red ball on the left"). It is lower-cased. One condition.

    Raises:
        PromptError: the phrase has no words.
    """
    return _turn(REFERRING, _tagged(plain_text(phrase).lower(), f"phrase {phrase!r}"), variant, rng)


def reasoning_turn(
    sentence: str,
    *,
    form: ReasoningForm | None = None,
    explanation: str = "",
    variant: int = 0,
    rng: np.random.Generator | None = None,
) -> Turn:
    """Ask for what answers ``sentence`` ("What can roll?"). Its case stays. One condition.

    ``form`` is, unless given: explanatory with an ``explanation`` (which begins the answer), long for a full sentence
    (one that ends in . ? or !), else short.

    Raises:
        PromptError: the sentence has no words.
    """
    words = plain_text(sentence)
    if form is None:
        form = "explanatory" if explanation else "long" if words.endswith((".", "?", "!")) else "short"
    turn = _turn(REASONING[form], _tagged(words, f"sentence {sentence!r}"), variant, rng)
    return Turn(turn.question, f"{plain_text(explanation)} {turn.answer}".strip()) if explanation else turn


def gcg_turn(
    caption: str = "",
    spans: Sequence[tuple[int, int]] = (),
    *,
    variant: int = 0,
    rng: np.random.Generator | None = None,
) -> Turn:
    """Ask for a description with masks. Without ``caption`` the answer is left to be generated.

    ``spans`` are (start, end) characters of ``caption``. Conditions follow the order of the spans in the text,
    whatever order they are given in.

    Raises:
        PromptError: a span outside the caption, empty or overlapping another.
    """
    turn = _turn(GCG, "", variant, rng)
    if not caption:
        return Turn(turn.question)
    return Turn(turn.question, f"{tag_spans(caption, spans)} {turn.answer}")


def vgd_turn(n_regions: int, *, variant: int = 0, rng: np.random.Generator | None = None) -> Turn:
    """Ask for all that is like each of ``n_regions`` regions. Condition i is region i.

    Raises:
        PromptError: no region.
    """
    if n_regions < 1:
        raise PromptError(f"expected at least one region, got {n_regions}: click, box or brush one")
    return _turn(VGD, ", ".join([f"{PHRASE_OPEN}{REGION}{PHRASE_CLOSE}"] * n_regions), variant, rng)


def interactive_turn(*, variant: int = 0, rng: np.random.Generator | None = None) -> Turn:
    """Ask for the one object that a region points at: the words of VGD with one region."""
    return vgd_turn(1, variant=variant, rng=rng)


def conversation_turn(question: str, answer: str = "") -> Turn:
    """Talk about the picture. Without ``answer`` it is left to be generated.

    Raises:
        PromptError: the question has no words.
    """
    words = plain_text(question)
    if not words:
        raise PromptError(f"expected a question in words, got {question!r}")
    return Turn(words, plain_text(answer))


def tag_spans(caption: str, spans: Sequence[tuple[int, int]]) -> str:
    """Put tags around characters of a caption: ("A ball.", [(2, 6)]) gives "A <p>ball</p> .".

    A space follows each ``</p>``, in addition to what was there: two inside a sentence, as X-SAM was trained with.

    Raises:
        PromptError: a span outside the caption, empty or overlapping another.
    """
    ordered = sorted(spans)
    pieces: list[str] = []
    done = 0
    for start, end in ordered:
        words = _cleared(caption[start:end]) if done <= start < end <= len(caption) else ""
        if not words.strip():
            raise PromptError(
                f"span ({start}, {end}) of a caption with {len(caption)} characters: expected words, inside it and "
                f"not overlapping the other spans {ordered}"
            )
        pieces += [_cleared(caption[done:start]), f"{PHRASE_OPEN}{words}{PHRASE_CLOSE} "]
        done = end
    return "".join([*pieces, _cleared(caption[done:])]).strip()


def _turn(wording: Wording, words: str, variant: int, rng: np.random.Generator | None) -> Turn:
    """Fill the wording's question; the answer keeps its ``{}``, if any."""
    if rng is None:
        return Turn(wording.questions[variant].replace("{}", words), wording.answers[FORCED_ANSWER])
    question = wording.questions[rng.integers(len(wording.questions))]
    return Turn(question.replace("{}", words), wording.answers[rng.integers(len(wording.answers))])


def _cleared(text: str) -> str:
    """Remove until nothing changes: taking one string out may bring another together."""
    while (shorter := _STEERING.sub("", text)) != text:
        text = shorter
    return text


def _tagged(words: str, what: str) -> str:
    """``<p>words</p>``. Raises PromptError where no word is left."""
    if not words:
        raise PromptError(
            f"{what}: expected words, got none once tags and suffixes are removed: write what to look for"
        )
    return f"{PHRASE_OPEN}{words}{PHRASE_CLOSE}"
