"""The one way in which the service uses the model: pictures and prompts in, answers out.

It ties the predictor, what is kept of pictures and the turns together, and times the stages.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import BusyError, DeviceMemoryError
from xsam_backend.inference.cache import CacheStats, Standing
from xsam_backend.inference.picture_memory import Encoder, PictureMemory, State
from xsam_backend.inference.scheduling import Priority, Turns
from xsam_backend.inference.shortage import give_back_unused, is_out_of_memory
from xsam_backend.inference.superseding import Newest, Topic
from xsam_backend.instances import Answer
from xsam_backend.model.between_looks import between_looks
from xsam_backend.model.small_passes import one_at_a_time
from xsam_backend.prompts import Exemplar, Prompt, Region, Task

logger = logging.getLogger(__name__)

StateT = TypeVar("StateT", bound=State)


class Predictor(Encoder[StateT], Protocol[StateT]):
    """The door of the model, as :mod:`xsam_backend.model.predictor` offers it."""

    def answers(self, state: StateT, prompts: Sequence[Prompt], /) -> list[Answer]:
        """The cheap half: questions about an encoded picture, one answer each."""

    def exemplar(self, state: StateT, region: Region, label: str, /) -> Exemplar:
        """What is in a region of an encoded picture, for prompts about others."""


@dataclass(frozen=True)
class Answered:
    """One answer per prompt, and the picture's state; None where nothing was asked."""

    answers: list[Answer]
    state: Any = None


@dataclass(frozen=True)
class Asker:
    """Who asks, how urgently and until when.

    Attributes:
        priority: whose turn is first.
        deadline: ``time.monotonic()`` after which no stage starts any more.
        topic: by which a newer request may make this one pointless.
        predictor: see ``Engine.predictor_of``; without one, the base's.
    """

    priority: Priority
    deadline: float | None = None
    topic: Topic | None = None
    predictor: Predictor[Any] | None = None


TOGETHER = 8
"""At most so many prompts are one stage, for which a click may have to wait."""

SHORT = frozenset({Task.INTERACTIVE, Task.REFERRING, Task.REASONING})
"""What is asked in few words and has one answer: several take little longer than one. A list of labels is a stage of
its own, and so is what is written word by word."""

StageObserver = Callable[[str, float], None]
"""Called with a stage ("look", "state", "prefix", "answer", "exemplar") and its seconds, and before each with "wait"
and how long it waited for its turn."""


class Engine:
    """Answers prompts about pictures. Safe to use from several threads: the predictor runs in one at a time."""

    def __init__(
        self,
        predictor: Predictor[Any],
        memory: PictureMemory,
        *,
        wait_limit_s: float,
        observe: StageObserver = lambda _stage, _seconds: None,
        predictor_of: Callable[[str | None], Predictor[Any]] | None = None,
    ) -> None:
        self._predictor = predictor
        self._predictor_of = predictor_of
        self._memory = memory
        self._turns = Turns()
        self._newest = Newest(self._turns.notice)
        self._wait_limit_s = wait_limit_s
        self._observe = observe
        self.shortages = 0
        """How often the device had no memory left."""

    @property
    def model_version(self) -> str:
        """The base model's version."""
        return self._predictor.model_version

    def predictor_of(self, project_key: str | None) -> Predictor[Any]:
        """What answers a project now. Hold it for a whole request: the next one may get another."""
        return self._predictor if self._predictor_of is None else self._predictor_of(project_key)

    @property
    def cache_stats(self) -> dict[str, CacheStats]:
        """Counters of what is kept of pictures, by layer."""
        return self._memory.stats

    @property
    def waiting(self) -> int:
        """How many wait for the model."""
        return self._turns.waiting

    @property
    def stage_s(self) -> float:
        """For how long the stage under way has been going on; 0 if there is none."""
        return self._turns.taken_s

    @property
    def idle_s(self) -> float:
        """For how long nobody has had or wanted the model."""
        return self._turns.idle_s

    def answer(
        self, image: NDArray[np.uint8], image_sha256: str, prompts: Sequence[Prompt], asker: Asker
    ) -> Answered:
        """One answer per prompt about one picture.

        Args:
            image: uint8 (H, W, 3) RGB, EXIF orientation applied.
            image_sha256: names the picture's content.
            prompts: asked in order, short ones together; the picture is encoded once.

        Raises:
            BusyError: no turn came in time, or the deadline has passed.
            SupersededError: a newer request of the topic has come.
            DeviceMemoryError: there isn't enough memory for it.
        """
        if not prompts:
            return Answered([])
        with self._newest.asked(asker.topic) as is_superseded:
            stages = self._stages(asker, image_sha256, is_superseded)
            predictor, state = self._asked(image, image_sha256, asker, stages)
            answers: list[Answer] = []
            for together in _stages_of(prompts):
                one_by_one = partial(_one_by_one, predictor.answers, state, together)
                answers += stages.run("answer", predictor.answers, state, together, smaller=one_by_one)
        self._memory.was_asked(predictor, image_sha256)
        return Answered(answers, state)

    def exemplars(
        self, image: NDArray[np.uint8], image_sha256: str, regions: Sequence[tuple[Region, str]], asker: Asker
    ) -> list[Exemplar]:
        """What is in some regions of one picture, each with its label; arguments as in ``answer``.

        Raises:
            BusyError: no turn came in time, or the deadline has passed.
        """
        stages = self._stages(asker, image_sha256)
        predictor, state = self._asked(image, image_sha256, asker, stages)
        return [stages.run("exemplar", predictor.exemplar, state, region, label) for region, label in regions]

    def prepare(self, image: NDArray[np.uint8], image_sha256: str, asker: Asker) -> None:
        """Encode a picture that may be asked about soon; arguments as in ``answer``.

        Raises:
            BusyError: no turn came in time, or the deadline has passed.
        """
        stages = self._stages(asker, image_sha256)
        self._asked(image, image_sha256, asker, stages)

    def _stages(self, asker: Asker, image_sha256: str, is_superseded: Callable[[], bool] = lambda: False) -> _Stages:
        return _Stages(
            self._turns, self._observe, self._wait_limit_s, asker, image_sha256, is_superseded, self._make_room
        )

    def _make_room(self) -> int:
        """The device has no memory left: drop what can be made again; so many bytes that were."""
        self.shortages += 1
        freed = self._memory.free_device()
        give_back_unused()
        return freed

    def _asked(
        self, image: NDArray[np.uint8], image_sha256: str, asker: Asker, stages: _Stages
    ) -> tuple[Predictor[Any], Any]:
        """Who answers, and the picture as it can be asked."""
        predictor = self._predictor if asker.predictor is None else asker.predictor
        return predictor, self._memory.state(predictor, image, image_sha256, stages)


def _one_by_one(answers: Callable[..., list[Answer]], state: Any, prompts: Sequence[Prompt]) -> list[Answer]:
    """The same in the smallest passes that there are; others have the model in between, if they want it."""
    set_before = one_at_a_time.set(True)
    try:
        found: list[Answer] = []
        for prompt in prompts:
            if found:
                between_looks.get()()
            found += answers(state, [prompt])
        return found
    finally:
        one_at_a_time.reset(set_before)


def _stages_of(prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
    """Neighbours that are answered in one stage."""
    for is_short, neighbours in itertools.groupby(prompts, lambda prompt: prompt.task in SHORT):
        alike, most = list(neighbours), TOGETHER if is_short else 1
        for first in range(0, len(alike), most):
            yield alike[first : first + most]


@dataclass(frozen=True)
class _Stages:
    """Runs the stages of one request, each in a turn of its own."""

    turns: Turns
    observe: StageObserver
    wait_limit_s: float
    asker: Asker
    image_sha256: str
    is_superseded: Callable[[], bool]
    make_room: Callable[[], int]

    def run(
        self, stage: str, work: Callable[..., Any], /, *given: Any, smaller: Callable[[], Any] | None = None
    ) -> Any:
        """One stage, timed. ``smaller`` does the same work in less memory.

        Raises:
            BusyError, SupersededError, DeviceMemoryError: see ``Engine.answer``.
        """
        limit_s = self.wait_limit_s
        if self.asker.deadline is not None:
            limit_s = min(limit_s, self.asker.deadline - time.monotonic())
            if limit_s <= 0:
                raise BusyError("out of time: this task is left for the next request")
        wanted = time.perf_counter()
        with self.turns.take(self.asker.priority, limit_s, self.image_sha256, self.is_superseded) as let_others:
            started = time.perf_counter()
            self.observe("wait", started - wanted)
            set_before = between_looks.set(let_others)
            try:
                result = self._with_room(stage, partial(work, *given), smaller)
            finally:
                between_looks.reset(set_before)
            self.observe(stage, time.perf_counter() - started)
        return result

    def _with_room(self, stage: str, work: Callable[[], Any], smaller: Callable[[], Any] | None) -> Any:
        """Where memory runs out: once more without all that is only kept to be faster, then in smaller passes."""
        tries = {"as asked": work, "once more": work} | (
            {} if smaller is None else {"in the smallest passes": smaller}
        )
        for number, (how, attempt) in enumerate(tries.items()):
            if number:
                logger.warning("stage %s is tried again, %s", stage, how)
            try:
                return attempt()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                words = str(error).split(". ")[0].splitlines()[0][:200] if str(error) else type(error).__name__
            freed = self.make_room()
            logger.warning("out of memory in stage %s: %d MB kept of pictures are dropped", stage, freed >> 20)
        raise DeviceMemoryError(
            f"not enough memory for the stage '{stage}' of this picture, also with nothing else kept "
            f"{'' if smaller is None else 'and one question after the other '}({words}): end other programs on the "
            "device, lower image_cache_mb and prefix_cache_mb, or send a smaller picture"
        )

    @property
    def standing(self) -> Standing:
        """What it may push out to keep what it encodes."""
        others = {Priority.BULK: Standing.GUEST, Priority.AHEAD: Standing.AHEAD}
        return others.get(self.asker.priority, Standing.ASKED)

    def hurried(self) -> AbstractContextManager[None]:
        """For the time that this request waits for another one's work on its picture."""
        return self.turns.hurried(self.image_sha256, self.asker.priority)
