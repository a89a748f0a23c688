"""What is kept of encoded pictures, in three layers, so that as little as possible is computed again.

- outputs: of the encoders, in main memory and, if wanted, on disk. The same in all versions of one base.
- states: all that a version needs to answer but the prefix, where the model runs.
- prefixes: the language model's keys and values. At full size many times as large as all else, and soon made again.

A promotion leaves the outputs valid; states and prefixes of the version before are the first to go, since nobody asks
for them any more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from xsam_backend.inference.cache import ByteCache, CacheKey, CacheStats, Sized
from xsam_backend.inference.disk_tier import DiskTier


class State(Sized, Protocol):
    """What a predictor makes of a picture."""

    def with_prefix(self, prefix: Any, /) -> Any:
        """The same, ready to be asked."""


StateT = TypeVar("StateT", bound=State)


class Encoder(Protocol[StateT]):
    """The picture's half of a predictor."""

    @property
    def model_version(self) -> str:
        """Names base weights and adapter; equal versions give equal answers."""

    @property
    def encoder_version(self) -> str:
        """Names the encoders; equal ones give equal outputs."""

    def look(self, image: NDArray[np.uint8], /) -> Any:
        """What the encoders make of a picture, uint8 (H, W, 3) RGB."""

    def state(self, image: NDArray[np.uint8], outputs: Any, /) -> StateT:
        """The picture's state, without its prefix."""

    def prefix(self, state: StateT, /) -> Any:
        """The language model's part of it."""


Stage = Callable[..., Any]
"""Runs one stage: its name, the function, what it is given."""


@dataclass(frozen=True)
class Budget:
    """Bytes for each layer."""

    outputs: int
    states: int
    prefixes: int


class PictureMemory:
    """Safe to use from several threads.

    Args:
        disk: a further layer, below the outputs.
    """

    def __init__(self, budget: Budget, disk: DiskTier[Any] | None = None) -> None:
        self._outputs: ByteCache[Any] = ByteCache(budget.outputs)
        self._states: ByteCache[Any] = ByteCache(budget.states)
        self._prefixes: ByteCache[Any] = ByteCache(budget.prefixes)
        self._disk = disk

    def state(
        self,
        encoder: Encoder[Any],
        image: NDArray[np.uint8],
        image_sha256: str,
        stage: Stage,
        waiting: Callable[[], AbstractContextManager[object]],
        is_guest: bool,
    ) -> Any:
        """A state that can be asked, made from whatever is there.

        Args:
            stage: what isn't there is made through it: "look", "state" and "prefix".
            waiting, is_guest: see ``ByteCache.get_or_make``.
        """
        key = CacheKey(image_sha256, encoder.model_version)

        def make() -> Any:
            return stage(
                "state", encoder.state, image, self._seen(encoder, image, image_sha256, stage, waiting, is_guest)
            )

        state = self._states.get_or_make(key, make, is_guest=is_guest, waiting=waiting)
        prefix = self._prefixes.get_or_make(
            key, lambda: stage("prefix", encoder.prefix, state), is_guest=is_guest, waiting=waiting
        )
        return state.with_prefix(prefix)

    def _seen(
        self,
        encoder: Encoder[Any],
        image: NDArray[np.uint8],
        image_sha256: str,
        stage: Stage,
        waiting: Callable[[], AbstractContextManager[object]],
        is_guest: bool,
    ) -> Any:
        key = CacheKey(image_sha256, encoder.encoder_version)

        def look() -> Any:
            return stage("look", encoder.look, image)

        disk = self._disk
        make = look if disk is None else lambda: disk.get_or_make(" ".join(key), look)
        return self._outputs.get_or_make(key, make, is_guest=is_guest, waiting=waiting)

    def was_asked(self, encoder: Encoder[Any], image_sha256: str) -> None:
        """Count a state's bytes anew: closer looks may have been added."""
        self._states.measure(CacheKey(image_sha256, encoder.model_version))

    def has(self, encoder: Encoder[Any], image_sha256: str) -> bool:
        """Whether a picture can be asked about without being encoded."""
        return CacheKey(image_sha256, encoder.model_version) in self._states

    @property
    def stats(self) -> dict[str, CacheStats]:
        """By layer."""
        return {"outputs": self._outputs.stats, "states": self._states.stats, "prefixes": self._prefixes.stats}
