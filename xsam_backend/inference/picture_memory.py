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

from xsam_backend.inference.cache import ByteCache, CacheKey, CacheStats, Sized, Standing
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


class Making(Protocol):
    """How a request makes what isn't there."""

    @property
    def standing(self) -> Standing:
        """Who asks."""

    def hurried(self) -> AbstractContextManager[object]:
        """Entered while another request makes it."""

    def run(self, stage: str, work: Callable[..., Any], /, *given: Any) -> Any:
        """One stage: "look", "state" or "prefix"."""


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

    def state(self, encoder: Encoder[Any], image: NDArray[np.uint8], image_sha256: str, making: Making) -> Any:
        """A state that can be asked, made from whatever is there."""
        key = CacheKey(image_sha256, encoder.model_version)

        def make() -> Any:
            return making.run("state", encoder.state, image, self._outputs_of(encoder, image, image_sha256, making))

        state = self._known(self._states, key, make, making)
        prefix = self._known(self._prefixes, key, lambda: making.run("prefix", encoder.prefix, state), making)
        return state.with_prefix(prefix)

    def _outputs_of(self, encoder: Encoder[Any], image: NDArray[np.uint8], image_sha256: str, making: Making) -> Any:
        key, disk = CacheKey(image_sha256, encoder.encoder_version), self._disk

        def look() -> Any:
            return making.run("look", encoder.look, image)

        def read_or_look() -> Any:
            is_guest = making.standing is Standing.GUEST
            return look() if disk is None else disk.get_or_make(" ".join(key), look, is_guest=is_guest)

        return self._known(self._outputs, key, read_or_look, making)

    @staticmethod
    def _known(layer: ByteCache[Any], key: CacheKey, make: Callable[[], Any], making: Making) -> Any:
        return layer.get_or_make(key, make, standing=making.standing, waiting=making.hurried)

    def was_asked(self, encoder: Encoder[Any], image_sha256: str) -> None:
        """Count a state's bytes anew: closer looks may have been added."""
        self._states.measure(CacheKey(image_sha256, encoder.model_version))

    def free_device(self) -> int:
        """Forget what lies on the device; so many bytes that were. The encoders' outputs are in main memory."""
        return self._states.clear() + self._prefixes.clear()

    @property
    def stats(self) -> dict[str, CacheStats]:
        """By layer; "disk" is the one of the outputs on disk, where there is one."""
        layers = {"outputs": self._outputs.stats, "states": self._states.stats, "prefixes": self._prefixes.stats}
        return layers if self._disk is None else {**layers, "disk": self._disk.stats}
