"""From turns to token ids, and from generated ids back to words.

What the language model reads is the chat template around the turns, cut into chunks at the placeholders; every token
carries a label (what to learn), a condition id (which phrase it belongs to) and a segmentation id (which ``<SEG>`` it
is). Answers' words and questions' words are tokenised apart, so a question is the same prefix whatever follows.
Arrays are numpy here; nothing in this module needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import CheckpointError, PromptError
from xsam_backend.model.chat_templates import ChatTemplate
from xsam_backend.model.turns import Turn
from xsam_backend.model.wordings import IMAGE, PHRASE_CLOSE, PHRASE_OPEN, REGION, SEG

IMAGE_INDEX = -200
"""Stands in ``input_ids`` where the picture's embeddings go."""
REGION_INDEX = -300
"""Stands in ``input_ids`` where one region's embedding goes."""
IGNORE_LABEL = -100
NO_ID = -1

ADDED_TOKENS = (SEG, PHRASE_OPEN, PHRASE_CLOSE)
"""Tokens that X-SAM adds to its language model's, in this order."""

_PLACEHOLDERS = {IMAGE: IMAGE_INDEX, REGION: REGION_INDEX}
_CHUNKS = re.compile(f"({IMAGE}|{REGION})")
_TAGS = re.compile(f"({PHRASE_OPEN}|{PHRASE_CLOSE})")

_SEG_SENTENCE = re.compile(
    r"\s*(?:And )?(?:(?:Sure, )?(?:it is|the segmentation (?:mask|result) is) )?" + SEG + r"\s*\.?", re.IGNORECASE
)

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class SpecialIds:
    """Token ids that the model looks for."""

    seg: int
    phrase_open: int
    phrase_close: int


@dataclass(frozen=True, eq=False)
class TokenizedConversation:
    """One sample's tokens before the picture is merged in: four int64 arrays of one length T.

    Attributes:
        input_ids: token ids, IMAGE_INDEX and REGION_INDEX for the placeholders.
        labels: the token where it is to be learned, IGNORE_LABEL elsewhere.
        cond_ids: i for the tokens of the i-th phrase, both tags included, NO_ID elsewhere.
        seg_ids: i for the i-th ``<SEG>``, NO_ID elsewhere.
    """

    input_ids: Ids
    labels: Ids
    cond_ids: Ids
    seg_ids: Ids

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, part: slice) -> TokenizedConversation:
        """The tokens of a slice; ids keep the numbers they have in the whole."""
        return TokenizedConversation(self.input_ids[part], self.labels[part], self.cond_ids[part], self.seg_ids[part])

    @property
    def n_conditions(self) -> int:
        """How many phrases there are."""
        return len(np.unique(self.cond_ids[self.cond_ids != NO_ID]))

    @property
    def n_segmentations(self) -> int:
        """How many ``<SEG>`` there are."""
        return int((self.seg_ids != NO_ID).sum())

    @property
    def n_regions(self) -> int:
        """How many region embeddings are to be put in."""
        return int((self.input_ids == REGION_INDEX).sum())

    @property
    def image_position(self) -> int:
        """Where the picture's placeholder stands.

        Raises:
            PromptError: there is none.
        """
        positions = np.flatnonzero(self.input_ids == IMAGE_INDEX)
        if not len(positions):
            raise PromptError(f"expected {IMAGE} in the conversation, got none: tokenise it with image=True")
        return int(positions[0])

    def through_image(self) -> TokenizedConversation:
        """The part that is the same for every question about a picture: up to its placeholder, which is the last."""
        return self[: self.image_position + 1]

    def after_image(self) -> TokenizedConversation:
        """The question and what follows it, to be read over the cached ``through_image()``."""
        return self[self.image_position + 1 :]


def add_special_tokens(tokenizer: Any) -> None:
    """Add X-SAM's three tokens to a transformers tokenizer that lacks them, in the released order."""
    tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)


def special_ids(tokenizer: Any) -> SpecialIds:
    """The ids of X-SAM's tokens.

    Raises:
        CheckpointError: the tokenizer lacks one of them.
    """
    # Not by the whole vocabulary, which is built anew at each look.
    ids = tokenizer.convert_tokens_to_ids(list(ADDED_TOKENS))
    missing = [
        token for token, number in zip(ADDED_TOKENS, ids, strict=True) if number in (None, tokenizer.unk_token_id)
    ]
    if missing:
        raise CheckpointError(
            f"expected a tokenizer with {', '.join(ADDED_TOKENS)}, this one lacks {', '.join(missing)}: use the one "
            "saved with the checkpoint, or add them with add_special_tokens and resize the embeddings"
        )
    return SpecialIds(*ids)


def render(turns: Sequence[Turn], template: ChatTemplate, *, image: bool = True) -> list[tuple[str, str]]:
    """The (question, answer) strings of each turn inside the template; an empty answer stays empty."""
    rendered = []
    for index, turn in enumerate(turns):
        words = f"{IMAGE}\n{turn.question}" if image and index == 0 else turn.question
        answer = turn.answer + template.suffix if turn.answer else ""
        rendered.append((template.instruction.replace("{input}", words), answer))
    return rendered


def tokenize(
    turns: Sequence[Turn],
    tokenizer: Any,
    template: ChatTemplate,
    *,
    with_answer: bool,
    bos: bool = True,
    max_length: int | None = None,
    overlong: Literal["cut", "refuse"] = "cut",
    image: bool = True,
) -> TokenizedConversation:
    """Token ids, labels and phrase ids of a conversation about one picture.

    Args:
        turns: at least one; all but the last must have an answer.
        tokenizer: a transformers tokenizer that knows X-SAM's tokens.
        template: how this language model wants its chats.
        with_answer: read the last turn's answer too (training, and answers that are fixed); without it the
            sequence ends where the model is to go on.
        bos: begin with the tokenizer's BOS, if it has one.
        max_length: most tokens, counted before merging (the picture is one).
        overlong: cut at ``max_length``, as the reference's training does, or refuse. Phrases are counted after it.
        image: put the picture's placeholder before the first question.

    Raises:
        PromptError: longer than ``max_length`` and to be refused.
        CheckpointError: the tokenizer lacks one of X-SAM's tokens.
    """
    if not turns or any(not turn.answer for turn in (turns if with_answer else turns[:-1])):
        raise ValueError(f"expected at least one turn, and an answer for each to be read, got {list(turns)}")
    special = special_ids(tokenizer)
    begin = [tokenizer.bos_token_id] if bos and tokenizer.bos_token_id is not None else []
    separator = _encode(tokenizer, template.separator)
    input_ids: list[int] = []
    labels: list[int] = []
    for index, (question, answer) in enumerate(render(turns, template, image=image)):
        asked = (begin if index == 0 else []) + _encode_with_placeholders(tokenizer, question)
        input_ids += asked
        labels += [IGNORE_LABEL] * len(asked)
        if with_answer or index < len(turns) - 1:
            said = _encode(tokenizer, answer)
            input_ids += said + separator
            labels += said + [IGNORE_LABEL] * len(separator)
    if max_length is not None and len(input_ids) > max_length:
        if overlong == "refuse":
            raise PromptError(
                f"the model reads at most {max_length} tokens, the question has {len(input_ids)}: ask for fewer "
                "categories or in fewer words"
            )
        input_ids, labels = input_ids[:max_length], labels[:max_length]
    ids = np.array(input_ids, np.int64)
    return TokenizedConversation(ids, np.array(labels, np.int64), condition_ids(ids, special), seg_ids(ids, special))


def condition_ids(input_ids: Ids, special: SpecialIds) -> Ids:
    """For each token the number of its ``<p>...</p>`` pair, tags included, NO_ID outside. int64 (T,).

    The i-th ``<p>`` of the sequence belongs to the i-th ``</p>``, as in the reference; one left over counts for
    nothing. A later pair wins where pairs overlap (only generated text has that).
    """
    numbers = np.full(len(input_ids), NO_ID, np.int64)
    opens = np.flatnonzero(input_ids == special.phrase_open)
    closes = np.flatnonzero(input_ids == special.phrase_close)
    for index, (start, end) in enumerate(zip(opens, closes, strict=False)):
        numbers[start : end + 1] = index
    return numbers


def seg_ids(input_ids: Ids, special: SpecialIds) -> Ids:
    """For each token the number of its ``<SEG>``, NO_ID elsewhere. int64 (T,)."""
    found = input_ids == special.seg
    return np.where(found, np.cumsum(found) - 1, NO_ID).astype(np.int64)


def generated_ids_to_phrases(generated: Sequence[int], special: SpecialIds) -> tuple[Ids, Ids]:
    """(cond_ids, seg_ids) of generated tokens, one shorter than ``generated``.

    The last generated token is never read by the model, so it has no hidden state. Where any condition is found here
    it replaces the prompt's: GCG's phrases are the generated ones.
    """
    read = np.array(generated[:-1], np.int64)
    return condition_ids(read, special), seg_ids(read, special)


def phrase_text(generated: str, template: ChatTemplate, *, keep_tags: bool) -> str:
    """Decoded text as the reference shows it: stop words and the blank after each tag removed.

    GCG keeps the tags (``split_phrases`` reads them), the other tasks drop them.
    """
    for word in template.stop_words:
        generated = generated.replace(word, "")
    for tag in (PHRASE_OPEN, PHRASE_CLOSE):
        generated = generated.replace(f"{tag} ", tag)
    return generated if keep_tags else _TAGS.sub("", generated)


def split_phrases(text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A caption for people and its phrases: (words, ((start, end), ...)), characters of the words.

    ``text`` is a ``phrase_text`` with tags. Tags go, and so does the closing sentence around ``<SEG>``.
    Span i is that of condition i, as ``condition_ids`` counts them; one that closes before it opens is empty.

    Example: "A <p>ball</p> rolls. And <SEG> ." becomes "A ball rolls.", ((2, 6),).
    """
    words = ""
    starts: list[int] = []
    ends: list[int] = []
    for piece in _TAGS.split(_SEG_SENTENCE.sub("", text).strip()):
        if piece == PHRASE_OPEN:
            starts.append(len(words))
        elif piece == PHRASE_CLOSE:
            ends.append(len(words))
        else:
            words += piece
    return words, tuple((start, max(start, end)) for start, end in zip(starts, ends, strict=False))


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def _encode_with_placeholders(tokenizer: Any, text: str) -> list[int]:
    """Every chunk between placeholders on its own; the placeholders become their negative ids."""
    ids: list[int] = []
    for chunk in _CHUNKS.split(text):
        ids += [_PLACEHOLDERS[chunk]] if chunk in _PLACEHOLDERS else _encode(tokenizer, chunk)
    return ids
