"""Where a click's time goes, module by module: the profile of the "interactive" suite.

Each module is wrapped for the length of one question. Time is a module's own, without that of others inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from unittest.mock import patch

from benchmarks.report import wait_for_gpu
from xsam_backend.model import dialogue, interactive_choice, kept_cells, pointing
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.segmentor import Predictions

PREFIX = "language model: the picture"


@dataclass(frozen=True)
class Part:
    """What is timed.

    Attributes:
        name: of the row; several parts may share one.
        owner, attribute: what is called, a module's ``forward`` mostly.
        of_picture: whether what it does depends on the picture only.
    """

    name: str
    owner: Any
    attribute: str
    of_picture: bool


def parts(predictor: Predictor) -> tuple[Part, ...]:
    """All of a model, in the order of a cold click."""
    model = predictor.model
    return (
        Part("resizing the picture", dialogue, "process_image", True),
        Part("segmentor encoder", model.segmentor_encoder, "forward", True),
        Part("vision encoder", model.vision_encoder, "forward", True),
        Part("projectors of both", model.visual_projector, "forward", True),
        Part("projectors of both", model.seg_projector, "forward", True),
        Part("connector", model.connector, "forward", True),
        Part("pixel decoder", model.segmentor.pixel_decoder, "forward", True),
        Part("keys and values of the mask decoder", model.segmentor, "features", True),
        Part(PREFIX, model.language, "prefix", True),
        Part("cells for further clicks", kept_cells, "comparable", True),
        Part("language model: the question", model.language, "states", False),
        Part("projector of words", model.llm_projector, "forward", False),
        Part("mask decoder", model.segmentor, "forward", False),
        Part("mask logits", Predictions, "mask_logits", False),
        Part("choosing", pointing, "vote", False),
        Part("upscaling", interactive_choice, "positive_masks", False),
        Part("further clicks", pointing, "corrected", False),
    )


@dataclass
class Spent:
    """Calls of each part by name, its own seconds, and the seconds of all."""

    calls: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    total_s: float = 0.0


@contextmanager
def timed(predictor: Predictor) -> Iterator[Spent]:
    """What is spent in the block."""
    spent = Spent()
    open_parts: list[str] = []

    def wrapped(part: Part) -> Callable[..., Any]:
        work = getattr(part.owner, part.attribute)

        def call(*args: Any, **kwargs: Any) -> Any:
            if PREFIX in open_parts:  # the language model reads the picture as it reads a question
                return work(*args, **kwargs)
            wait_for_gpu()
            started = perf_counter()
            open_parts.append(part.name)
            try:
                return work(*args, **kwargs)
            finally:
                wait_for_gpu()
                taken = perf_counter() - started
                open_parts.pop()
                spent.calls[part.name] = spent.calls.get(part.name, 0) + 1
                spent.seconds[part.name] = spent.seconds.get(part.name, 0.0) + taken
                if open_parts:
                    spent.seconds[open_parts[-1]] = spent.seconds.get(open_parts[-1], 0.0) - taken

        return call

    with ExitStack() as stack:
        for part in parts(predictor):
            stack.enter_context(patch.object(part.owner, part.attribute, wrapped(part)))
        started = perf_counter()
        yield spent
        wait_for_gpu()
        spent.total_s = perf_counter() - started


Row = tuple[str | float, ...]
COLUMNS = (
    "size",
    "module",
    "of the picture only",
    "cold click, ms",
    "warm click, ms",
    "calls in it",
    "calls in other warm questions",
)


def rows(size: str, predictor: Predictor, cold: Callable[[], Any], warm: Sequence[Callable[[], Any]]) -> list[Row]:
    """A row for each module, and one for all else.

    Args:
        cold: a click on a picture that nothing is known of.
        warm: a click on one that is, then other questions about it; all asked once before.
    """
    spent = []
    for work in (cold, *warm):
        with timed(predictor) as of_work:
            work()
        spent.append(of_work)
    at_first, click, *others = spent
    of_picture = {part.name: part.of_picture for part in parts(predictor)}
    found: list[Row] = []
    for name, only in of_picture.items():
        times = (1000 * one.seconds.get(name, 0.0) for one in (at_first, click))
        calls = (click.calls.get(name, 0), sum(other.calls.get(name, 0) for other in others))
        found.append((size, name, "yes" if only else "no", *times, *calls))
    rest = (1000 * (one.total_s - sum(one.seconds.values())) for one in (at_first, click))
    return [*found, (size, "all else", "no", *rest, "-", "-")]
