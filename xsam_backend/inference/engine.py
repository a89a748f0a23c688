"""The one way in which the service uses the model: pictures and prompts in, answers out.

It ties the predictor, the cache of encoded pictures and the turns together, and times the two halves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import BusyError
from xsam_backend.inference.cache import CacheStats, Sized, StateCache, StateKey
from xsam_backend.inference.scheduling import Priority, Turns
from xsam_backend.instances import Answer
from xsam_backend.prompts import Exemplar, Prompt, Region

StateT = TypeVar("StateT", bound=Sized)


class Predictor(Protocol[StateT]):
    """The door of the model, as :mod:`xsam_backend.model.predictor` offers it."""

    @property
    def model_version(self) -> str:
        """Names base weights and adapter; equal versions give equal answers."""

    def encode(self, image: NDArray[np.uint8], /) -> StateT:
        """The expensive half: uint8 (H, W, 3) RGB to an immutable state."""

    def answer(self, state: StateT, prompt: Prompt, /) -> Answer:
        """The cheap half: one question about an encoded picture."""

    def exemplar(self, state: StateT, region: Region, label: str, /) -> Exemplar:
        """What is in a region of an encoded picture, for prompts about others."""


@dataclass(frozen=True)
class Answered:
    """One answer per prompt, and the picture's state; None where nothing was asked."""

    answers: list[Answer]
    state: Any = None


StageObserver = Callable[[str, float], None]
"""Called with a stage's name ("encode", "answer", "exemplar") and its seconds, waiting not counted."""


class Engine:
    """Answers prompts about pictures. Safe to use from several threads: the predictor runs in one at a time."""

    def __init__(
        self,
        predictor: Predictor[Any],
        *,
        cache_bytes: int,
        wait_limit_s: float,
        observe: StageObserver = lambda _stage, _seconds: None,
        predictor_of: Callable[[str | None], Predictor[Any]] | None = None,
    ) -> None:
        self._predictor = predictor
        self._predictor_of = predictor_of
        self._cache: StateCache[Any] = StateCache(cache_bytes)
        self._turns = Turns()
        self._wait_limit_s = wait_limit_s
        self._observe = observe

    @property
    def model_version(self) -> str:
        """The base model's version."""
        return self._predictor.model_version

    def predictor_of(self, project_key: str | None) -> Predictor[Any]:
        """What answers a project now. Hold it for a whole request: the next one may get another."""
        return self._predictor if self._predictor_of is None else self._predictor_of(project_key)

    @property
    def cache_stats(self) -> CacheStats:
        """Counters of the cache of encoded pictures."""
        return self._cache.stats

    @property
    def waiting(self) -> int:
        """How many wait for the model."""
        return self._turns.waiting

    def answer(
        self,
        image: NDArray[np.uint8],
        image_sha256: str,
        prompts: Sequence[Prompt],
        priority: Priority,
        deadline: float | None = None,
        predictor: Predictor[Any] | None = None,
    ) -> Answered:
        """One answer per prompt about one picture.

        Args:
            image: uint8 (H, W, 3) RGB, EXIF orientation applied.
            image_sha256: names the picture's content.
            prompts: asked one after the other; the picture is encoded once.
            priority: whose turn is first.
            deadline: ``time.monotonic()`` after which no stage starts any more.
            predictor: see ``predictor_of``; without one, the base's.

        Raises:
            BusyError: no turn came in time, or the deadline has passed.
        """
        if not prompts:
            return Answered([])
        asked = self._predictor if predictor is None else predictor
        state = self._state(image, image_sha256, priority, deadline, asked)
        answers = [self._stage("answer", priority, deadline, asked.answer, state, prompt) for prompt in prompts]
        return Answered(answers, state)

    def exemplars(
        self,
        image: NDArray[np.uint8],
        image_sha256: str,
        regions: Sequence[tuple[Region, str]],
        priority: Priority,
        deadline: float | None,
        predictor: Predictor[Any],
    ) -> list[Exemplar]:
        """What is in some regions of one picture, each with its label; arguments as in ``answer``.

        Raises:
            BusyError: no turn came in time, or the deadline has passed.
        """
        state = self._state(image, image_sha256, priority, deadline, predictor)
        return [
            self._stage("exemplar", priority, deadline, predictor.exemplar, state, region, label)
            for region, label in regions
        ]

    def _state(
        self,
        image: NDArray[np.uint8],
        image_sha256: str,
        priority: Priority,
        deadline: float | None,
        predictor: Predictor[Any],
    ) -> Any:
        key = StateKey(image_sha256, predictor.model_version)
        return self._cache.get_or_encode(
            key, lambda: self._stage("encode", priority, deadline, predictor.encode, image)
        )

    def _stage(
        self, name: str, priority: Priority, deadline: float | None, work: Callable[..., Any], *given: Any
    ) -> Any:
        limit_s = self._wait_limit_s
        if deadline is not None:
            limit_s = min(limit_s, deadline - time.monotonic())
            if limit_s <= 0:
                raise BusyError("out of time: this task is left for the next request")
        with self._turns.take(priority, limit_s):
            started = time.perf_counter()
            result = work(*given)
            self._observe(name, time.perf_counter() - started)
        return result
