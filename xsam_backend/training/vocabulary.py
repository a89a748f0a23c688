"""Builds tiny's tokenizer: a few thousand pieces, most of them whole words.

Tiny reads short texts about pictures and has few rows to spend. So words that matter are listed and kept whole: each
begins with the meaning that ``token_embeddings`` gives it, and a class name that no training picture shows is still
near its relatives. Everything else is spelt: sub-word pieces, then characters, then bytes.

    python -m xsam_backend.training.vocabulary --data ../shared/data --output xsam_backend/model/tiny
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import accumulate
from pathlib import Path

import click
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from xsam_backend.errors import XSamBackendError
from xsam_backend.model import wordings
from xsam_backend.model.conversation import ADDED_TOKENS, add_special_tokens
from xsam_backend.model.turns import clean_category
from xsam_backend.scenes.texts import vocabulary_texts
from xsam_backend.training.pretrained import frequent_words

VOCABULARY_SIZE = 4000
"""Rows of the embedding, special and added tokens included."""

SUBWORD_PIECES = 500
SPELT_FROM = 2000
"""Sub-words are learnt from English words of this rank and beyond: those before are mostly whole."""

MARK = "▁"
"""Stands for the blank before a word, as in SentencePiece."""

PHOTO_FOLDERS = ("photos", "photos_more")

CONTROL_TOKENS = ("<unk>", "<s>", "</s>")
CHAT_TOKENS = ("<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")
_SWALLOW_BLANKS = {"</s>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"}
"""Phi-3's: these take the blanks and line ends behind them along."""

_BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
_CHARACTERS = ("\n", *(chr(code) for code in range(0x21, 0x7F)), *"°–—‘’“”…")
_DETACHED = tuple(".,:;?!()\"'-0123456789")
"""Marks that often stand behind a special token, where they get a word-start mark: one piece with it, too."""

_WORD = re.compile(r"[^\W\d_]+")
_PIECE_ENDS = r"▁?\p{L}+|▁?\p{N}|▁?[^\p{L}\p{N}▁]|▁"
"""Pieces never reach over these bounds: a word, one digit, one mark. Each with the blank before it."""


def build_tokenizer(captions: Iterable[str], class_names: Iterable[str]) -> PreTrainedTokenizerFast:
    """Tiny's tokenizer; ids are the control tokens, bytes, characters, words, sub-words, chat tokens, X-SAM's three.

    Encoding and decoding give a text back unchanged, but for a literal "▁", which comes back as a blank.

    Raises:
        CheckpointError: the package that the frequent words come from is not installed.
    """
    common = frequent_words()
    room = (
        VOCABULARY_SIZE
        - SUBWORD_PIECES
        - sum(map(len, (CONTROL_TOKENS, _BYTES, _CHARACTERS, _DETACHED, CHAT_TOKENS, ADDED_TOKENS, MARK)))
    )
    words = choose_words(captions, class_names, common, room)
    subwords = learn_subwords(common[SPELT_FROM:], SUBWORD_PIECES, words)
    return _assemble(words, subwords)


def choose_words(captions: Iterable[str], class_names: Iterable[str], common: Sequence[str], room: int) -> list[str]:
    """The words that are kept whole, most wanted first, as many as fill ``room`` rows (see ``_word_pieces``).

    First what tiny is asked with and what it is asked for: prompts, scenes, class names, ``label_words.txt``. Then
    words seen in two captions (with a capital: in three). ``common`` (most frequent first) fills up.
    """
    wanted: dict[str, None] = {}
    asked = (*_prompt_texts(), *vocabulary_texts(), *map(clean_category, class_names), *label_words())
    for text in asked:
        wanted.update(dict.fromkeys(_words(text)))
    counts = Counter(word for caption in captions for word in _words(caption))
    for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if (count >= 2 and word.islower()) or (count >= 3 and word.istitle()):
            wanted[word] = None
    wanted.update(dict.fromkeys(common))
    rows = accumulate(len(_word_pieces(word)) for word in wanted)
    return [word for word, used in zip(wanted, rows, strict=True) if used <= room]


def learn_subwords(words: Sequence[str], size: int, known: Collection[str] = ()) -> dict[str, float]:
    """Pieces to spell other words with -> their log-probabilities: the unigram model of arXiv 1804.10959.

    The likeliest ``size`` pieces of two letters or more that are not ``known`` whole words, by alphabet; and single
    characters, which come on top. Scores are rounded: their last digits depend on the order of threads.
    """
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(MARK), "merged_with_next")
    trainer = trainers.UnigramTrainer(
        vocab_size=size + size // 2,
        max_piece_length=6,
        special_tokens=["<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([MARK + word for word in words], trainer)
    learnt = {piece: round(score, 3) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"][1:]}
    single = {piece: score for piece, score in learnt.items() if len(piece) == 1}
    taken = {*single, *(MARK + word for word in known)}
    longer = sorted((piece for piece in learnt if piece not in taken), key=lambda piece: (-learnt[piece], piece))
    return single | {piece: learnt[piece] for piece in sorted(longer[:size])}


def label_words() -> list[str]:
    """The words of ``label_words.txt``, beside this module."""
    lines = files(__package__).joinpath("label_words.txt").read_text(encoding="utf-8").splitlines()
    return [word for line in lines if not line.startswith("#") for word in line.split()]


def photo_texts(data: Path) -> tuple[list[str], list[str]]:
    """(captions of the training split, class names) of the photo folders below ``data``.

    Raises:
        XSamBackendError: a folder is not there.
    """
    captions: list[str] = []
    class_names: dict[str, None] = {}
    for folder in PHOTO_FOLDERS:
        try:
            instances = json.loads((data / folder / "instances.json").read_text(encoding="utf-8"))
            captioned = json.loads((data / folder / "captions.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise XSamBackendError(
                f"expected {' and '.join(PHOTO_FOLDERS)} in {data}, found no {error.filename}: "
                "name the folder that holds them by --data"
            ) from error
        train = {image["id"] for image in instances["images"] if image["split"] == "train"}
        captions += [entry["caption"] for entry in captioned["annotations"] if entry["image_id"] in train]
        class_names.update(dict.fromkeys(category["name"] for category in instances["categories"]))
    return captions, list(class_names)


def _prompt_texts() -> Iterator[str]:
    """Every question and answer of X-SAM, without placeholders and tags."""
    reasoning = wordings.REASONING.values()
    tasks = (wordings.GENERIC, wordings.GENERIC_CAPTION, wordings.REFERRING, *reasoning, wordings.GCG, wordings.VGD)
    for wording in tasks:
        for text in (*wording.questions, *wording.answers):
            yield text.replace(wordings.SEG, " ").replace("{}", " ")


def _words(text: str) -> Iterator[str]:
    """Runs of letters. Single letters count as words where English has them; the rest are "s" and "t" behind "'"."""
    return (word for word in _WORD.findall(text) if len(word) > 1 or word in ("a", "A", "I"))


def _word_pieces(word: str) -> tuple[str, ...]:
    """The word behind a blank; with a capital also without, because a question follows the picture's line end."""
    return (MARK + word,) if word[0].islower() or len(word) == 1 else (MARK + word, word)


def _assemble(words: Sequence[str], scores: dict[str, float]) -> PreTrainedTokenizerFast:
    """A unigram tokenizer in which a listed word is never cut."""
    rare = min(scores.values()) - 1.0
    starts = max(score for piece, score in scores.items() if piece.startswith(MARK))
    follow = max(score for piece, score in scores.items() if not piece.startswith(MARK))
    # A cut word is a start and at least one piece more. Nothing positive is ever added, so no cut reaches this score;
    # and as all words share it, a word that another begins with (car, cars) does not win against the longer one.
    whole = round(starts + follow + 0.1, 3)

    vocabulary: dict[str, float] = {}
    for piece in (*CONTROL_TOKENS, *_BYTES):
        vocabulary[piece] = rare
    for piece in (MARK, *_CHARACTERS):
        vocabulary[piece] = scores.get(piece, rare)
    for piece in (*(MARK + mark for mark in _DETACHED), *(piece for word in words for piece in _word_pieces(word))):
        vocabulary.setdefault(piece, whole)
    for piece, score in scores.items():
        vocabulary.setdefault(piece, score)

    tokenizer = Tokenizer(models.Unigram(list(vocabulary.items()), unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECE_ENDS), "isolated")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(token, rstrip=token in _SWALLOW_BLANKS, normalized=False, special=True)
            for token in (*CONTROL_TOKENS, *CHAT_TOKENS)
        ]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        padding_side="right",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    add_special_tokens(wrapped)
    return wrapped


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with photos and photos_more.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder for the tokenizer's files.")
def main(data: Path, output: Path) -> None:
    """Build tiny's tokenizer and write it to a folder that transformers loads."""
    try:
        tokenizer = build_tokenizer(*photo_texts(data))
    except XSamBackendError as error:
        raise click.ClickException(str(error)) from error
    tokenizer.save_pretrained(output)
    size = sum((output / name).stat().st_size for name in os.listdir(output) if "token" in name)
    click.echo(f"{len(tokenizer)} pieces, {size / 1000:.0f} kB in {output}", err=True)


if __name__ == "__main__":
    main()
