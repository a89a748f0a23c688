"""What X-SAM is asked and what it answers, in words: one builder per task.

The first question of each task, every answer and the category cleaning are X-SAM's own, because the released weights
were trained on them. The other questions are our wordings of the same request, for variety in training.
Text of a user is cleared of the strings that steer the model (``<p>``, ``<SEG>``, ``<image>``, chat tokens).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xsam_backend.errors import PromptError

IMAGE = "<image>"
REGION = "<region>"
SEG = "<SEG>"
PHRASE_OPEN = "<p>"
PHRASE_CLOSE = "</p>"

FORCED_ANSWER = 1
"""Index, in every task's answers, of the one that is read in the same pass at inference ("It is <SEG>.")."""

ReasoningForm = Literal["long", "short", "explanatory"]


@dataclass(frozen=True)
class Turn:
    """One exchange. ``question`` comes without the picture's placeholder, which ``tokenize`` puts before the first.

    ``answer`` is empty where the model is to generate it.
    """

    question: str
    answer: str = ""


@dataclass(frozen=True)
class Wording:
    """Ways to ask one thing and to answer it; ``{}`` is where the user's words go."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]


_MASK_ANSWERS = (
    f"{SEG}.",
    f"It is {SEG}.",
    f"Sure, {SEG}.",
    f"Sure, it is {SEG}.",
    f"Sure, the segmentation mask is {SEG}.",
)
_RESULT_ANSWERS = (*_MASK_ANSWERS[:4], f"Sure, the segmentation result is {SEG}.")

GENERIC = Wording(
    (
        "Can you segment the image based on the following categories: {}? Please output the segmentation masks.",
        "Please divide the image into these categories: {}. Respond with the segmentation masks.",
        "Which parts of the image belong to the categories {}? Please give the segmentation masks.",
        "Find everything in the image that belongs to one of these categories: {}. Output the segmentation masks.",
        "Here is a list of categories: {}. Could you output the segmentation masks of each of them?",
        "Could you mark the following categories in this image: {}? Please answer with the segmentation masks.",
    ),
    _RESULT_ANSWERS,
)
GENERIC_CAPTION = Wording(
    (
        "Can you describe the image and segment it based on the following categories: {}?",
        "Please say in a sentence what the image shows, then output the segmentation masks for: {}.",
        "Describe the image briefly. Which parts of it belong to the categories {}? Give the segmentation masks.",
        "What is in this image? After a short description, segment these categories: {}.",
        "Here is a list of categories: {}. Could you caption the image and output their segmentation masks?",
        "Give a short caption of the image and mark the following categories in it: {}.",
    ),
    (
        f"{{}} {SEG}.",
        f"{{}} And it is {SEG}.",
        f"{{}} And {SEG}.",
        f"{{}} And the segmentation result is {SEG}.",
    ),
)
REFERRING = Wording(
    (
        "Please identify and segment the {} in this image.",
        "Where is the {} in this image? Please output the segmentation mask.",
        "Can you segment the {} in this image?",
        "Please find the {} and output its segmentation mask.",
        "Could you mark the {} in the image?",
        "Output the segmentation mask of the {}.",
        "Look for the {} in this image and segment it.",
        "Which part of the image is the {}? Respond with the segmentation mask.",
        "I am looking for the {}. Can you segment it for me?",
        "Show me the {} by its segmentation mask.",
    ),
    _MASK_ANSWERS,
)
REASONING: dict[ReasoningForm, Wording] = {
    "long": Wording(
        (
            "{} Please output the corresponding segmentation mask.",
            "{} Please answer with a segmentation mask.",
            "{} Could you show it by a segmentation mask?",
            "{} Segment what answers the question.",
            "{} Respond with the segmentation mask of it.",
        ),
        _MASK_ANSWERS,
    ),
    "short": Wording(
        (
            "Can you segment {} in this image? Please output the segmentation mask.",
            "Where in this image is {}? Please output the segmentation mask.",
            "Please segment {} and output the mask.",
            "What in this image is {}? Respond with the segmentation mask.",
            "Find {} in the image and give its segmentation mask.",
        ),
        _MASK_ANSWERS,
    ),
    "explanatory": Wording(
        (
            "{} Please explain why and output the corresponding segmentation mask.",
            "{} Give your reason, then the segmentation mask.",
            "{} Tell me how you know, and answer with the segmentation mask.",
            "{} Please output the segmentation mask and explain your choice.",
            "{} Explain the answer in words and segment it.",
        ),
        (
            f"{SEG}.",
            f"It is {SEG}.",
            f"And {SEG}.",
            f"And it is {SEG}.",
            f"And the segmentation mask is {SEG}.",
        ),
    ),
}
GCG = Wording(
    (
        "Could you please give me a brief description of the image? Please respond with interleaved segmentation "
        "masks for the corresponding parts of the answer.",
        "What does the image show? Please interleave the segmentation masks of the things you mention.",
        "Please describe the image in a sentence or two, with segmentation masks for the parts of the description.",
        "Can you caption this image and ground each phrase with its segmentation mask?",
        "Tell me briefly what is in the image, and output segmentation masks for what you name.",
        "Write a short description of the image. Respond with interleaved segmentation masks for its phrases.",
    ),
    (
        f"{SEG}.",
        f"And {SEG}.",
        f"The segmentation mask is {SEG}.",
        f"And the segmentation mask is {SEG}.",
    ),
)
VGD = Wording(
    (
        "Can you segment the image based on the following regions: {}? Please output the corresponding "
        "segmentation mask.",
        "Please segment all that looks like these regions: {}. Output the corresponding segmentation mask.",
        "Which objects in the image are like the regions {}? Respond with the segmentation mask.",
        "Here are some regions of the image: {}. Could you output the corresponding segmentation mask?",
        "Find the objects that the following regions point at: {}. Please give the segmentation mask.",
        "Use these regions as examples: {}. Output the segmentation mask of what they show.",
    ),
    _RESULT_ANSWERS,
)

_STEERING = re.compile(r"<SEG>|<CLS>|</?p>|<image>|<region>|</?s>|<unk>|</?think>|<\|[^<>|]*\|>", re.IGNORECASE)


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
