"""Where training pictures come from: labelled folders and drawn scenes, mixed by share, the same for one seed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from xsam_backend.errors import DatasetError, PromptError
from xsam_backend.evaluation.datasets.records import Record
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.model.chat_templates import CHAT_TEMPLATES
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.conversation import TokenizedConversation, tokenize
from xsam_backend.model.image_processor import ImageProcessorConfig
from xsam_backend.prompts import Task
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, draw_scene
from xsam_backend.scenes.vocabulary import COLOURS, PATTERN_WORDS
from xsam_backend.training.augmentation import augment
from xsam_backend.training.batch import PLACE_WORDS, AskedPicture, prepare
from xsam_backend.training.copy_paste import Cutouts, paste
from xsam_backend.training.questions import Asking, Question, ask

PATIENCE = 300
"""So many pictures without any answer mean that there won't be one."""


class Source(Protocol):
    """Something that gives labelled pictures."""

    @property
    def names(self) -> Sequence[str]:
        """Class names that may be asked for."""

    def draw(self, rng: np.random.Generator) -> GroundTruth:
        """Any of its pictures."""


@dataclass(frozen=True)
class Photos:
    """Labelled pictures, each as often as another unless there are ``weights``; into each, ``pasted`` segments of
    ``cutouts`` on average."""

    records: Sequence[Record]
    names: Sequence[str]
    cutouts: Cutouts | None = None
    pasted: float = 0.0
    weights: Sequence[float] | None = None

    def draw(self, rng: np.random.Generator) -> GroundTruth:
        """See Source."""
        if self.weights is None:
            number = int(rng.integers(len(self.records)))
        else:
            shares = np.asarray(self.weights, np.float64)
            number = int(rng.choice(len(self.records), p=shares / shares.sum()))
        truth = self.records[number].load()
        if self.cutouts is not None:
            for _ in range(rng.poisson(self.pasted)):
                cutout = self.cutouts.draw(rng)
                truth = truth if cutout is None else paste(truth, cutout, rng)
        return truth


@dataclass(frozen=True)
class Scenes:
    """Drawn scenes, none of them held out."""

    names: Sequence[str]
    side: int

    def draw(self, rng: np.random.Generator) -> GroundTruth:
        """See Source."""
        aspect = float(rng.choice([1.0, 1.0, 4 / 3, 3 / 4]))
        size = (self.side, round(self.side / aspect)) if aspect >= 1 else (round(self.side * aspect), self.side)
        return draw_scene(int(rng.integers(FIRST_HELD_OUT_SEED)), size)


@dataclass(frozen=True)
class Part:
    """A source's share of the pictures and the questions asked about each of them.

    Attributes:
        name: of the part.
        views: so many pictures, each in one view, come again and again; 0: every time another one.
        by_area: which objects are pointed at; see ``questions.Asking``.
    """

    source: Source
    share: float
    questions: Mapping[Task, float]
    name: str = ""
    views: int = 0
    by_area: bool = True


def told_words(sources: Iterable[Source]) -> dict[str, int]:
    """What segments can be told by: names of all sources, looks and places, each with its number."""
    names = {name for source in sources for name in source.names}
    return {word: i for i, word in enumerate(sorted(names.union(COLOURS, PATTERN_WORDS, PLACE_WORDS)))}


class QuestionSet(Dataset[AskedPicture]):
    """Picture number ``index`` of an endless, reproducible stream.

    Args:
        parts: where pictures come from.
        config, tokenizer: of the model that will read them.
        seed: decides everything that is drawn.
        least_px: instances with fewer visible pixels are not asked for one by one.
        words: the words that segments are told by.
        together: so many successive pictures have one part and one task, as a whole step of the paper's training has.
            Without it, each picture is of any part and has all of its questions.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        config: XSamConfig,
        tokenizer: Any,
        seed: int,
        least_px: int,
        words: Mapping[str, int],
        together: int | None = None,
    ) -> None:
        self.parts = parts
        self.config = config
        self.tokenizer = tokenizer
        self.seed = seed
        self.least_px = least_px
        self.words = words
        self.together = together
        # Training looks at the stretched picture, as the released recipe does.
        self.processor = ImageProcessorConfig.of_model(config, pad_to_square=False)

    def word_ids(self) -> list[list[int]]:
        """Token ids of the words that segments are told by, in the order of their numbers."""
        return [list(self.tokenizer(word, add_special_tokens=False)["input_ids"]) for word in self.words]

    def __getitem__(self, index: int) -> AskedPicture:
        """Deterministic by (seed, index): a resumed training goes on with the pictures it would have had.

        Raises:
            DatasetError: picture after picture had no answer to what is asked about it.
        """
        rng = np.random.default_rng([self.seed, index])
        side = self.config.segmentor_encoder.image_size
        for _ in range(PATIENCE):
            part, mix = self._any_part(rng) if self.together is None else self._common_part(index // self.together)
            truth, view = self._seen(part, rng, side)
            asking = Asking(part.source.names, self.least_px, part.by_area)
            questions, conversations = self._readable(ask(truth, mix, rng, asking))
            if questions:
                break
        else:
            raise DatasetError(
                f"{PATIENCE} pictures in a row had no answer to any question of {', '.join(map(str, mix))}: ask what "
                "the data hold (scenes hold everything), or lower least_px"
            )
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        return prepare(
            truth, questions, conversations, self.processor, self.config.region_points, generator, self.words, view
        )

    def _seen(self, part: Part, rng: np.random.Generator, side: int) -> tuple[GroundTruth, str]:
        """A view of one of the part's pictures, and its name if it comes again."""
        if not part.views:
            return augment(part.source.draw(rng), rng, side), ""
        number = int(rng.integers(part.views))
        own = np.random.default_rng([self.seed, zlib.crc32(part.name.encode()), number])
        return augment(part.source.draw(own), own, side), f"{part.name}-{self.seed}-{number}"

    def _any_part(self, rng: np.random.Generator) -> tuple[Part, Mapping[Task, float]]:
        """A part by its share, with all of its questions."""
        shares = np.array([part.share for part in self.parts])
        part = self.parts[rng.choice(len(self.parts), p=shares / shares.sum())]
        return part, part.questions

    def _common_part(self, group: int) -> tuple[Part, Mapping[Task, float]]:
        """The part of a group of pictures, and the one task: as many questions as the part says, at least one."""
        rng = np.random.default_rng([self.seed, group, len(self.parts)])
        part, mix = self._any_part(rng)
        counts = np.array(list(mix.values()))
        task = list(mix)[rng.choice(len(mix), p=counts / counts.sum())]
        return part, {task: max(mix[task], 1)}

    def _readable(self, questions: Sequence[Question]) -> tuple[list[Question], list[TokenizedConversation]]:
        """Questions and their tokens, without those that are longer than the model reads: cut, they would lose their
        ``<SEG>``."""
        kept: list[Question] = []
        conversations: list[TokenizedConversation] = []
        for question in questions:
            try:
                conversation = tokenize(
                    [question.turn],
                    self.tokenizer,
                    CHAT_TEMPLATES[self.config.chat_template],
                    with_answer=True,
                    bos=self.config.use_bos,
                    max_length=self.config.max_text_tokens,
                    overlong="refuse",
                )
            except PromptError:
                continue
            kept.append(question)
            conversations.append(conversation)
        return kept, conversations
