"""The device has no memory left: what is kept is dropped, the stage tried again, in smaller passes; or it is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from fake_predictor import FakePredictor, FakeState

from xsam_backend.errors import DeviceMemoryError
from xsam_backend.inference.engine import Asker, Engine
from xsam_backend.inference.picture_memory import Budget, PictureMemory
from xsam_backend.inference.scheduling import Priority
from xsam_backend.inference.shortage import is_out_of_memory
from xsam_backend.instances import Answer
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.model.small_passes import one_at_a_time
from xsam_backend.prompts import Box, Category, Point, Prompt, Task

PICTURE = np.zeros((9, 9, 3), np.uint8)
CLICK = Prompt(Task.INTERACTIVE, (Point(1, 1),))
CUDA_WORDS = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139 GiB"


class Shortage:
    """``before`` of a predictor: the next ``times`` runs of a stage find no memory."""

    def __init__(self) -> None:
        self.times = 0
        self.stage = ""
        self.error: Callable[[], Exception] = lambda: torch.OutOfMemoryError(CUDA_WORDS)

    def __call__(self, stage: str) -> None:
        if stage == self.stage and self.times:
            self.times -= 1
            raise self.error()


def make_engine(shortage: Shortage) -> Engine:
    return Engine(FakePredictor(before=shortage), PictureMemory(Budget(2000, 20_000, 100_000)), wait_limit_s=5)


def ask(engine: Engine, name: str) -> bool:
    (answer,) = engine.answer(PICTURE, name, [CLICK], Asker(Priority.INTERACTIVE)).answers
    return bool(len(answer.instances))


@pytest.mark.parametrize("stage", ["look", "state", "prefix", "answer"])
def test_once_short_it_drops_what_is_kept_and_answers(stage: str) -> None:
    shortage = Shortage()
    engine = make_engine(shortage)
    for name in "ab":
        assert ask(engine, name)
    shortage.stage, shortage.times = stage, 1
    assert ask(engine, "c")
    assert engine.shortages == 1
    kept = engine.cache_stats
    assert kept["outputs"].entries == 3, "those are in main memory"
    assert (kept["states"].entries, kept["prefixes"].entries) == {
        "look": (1, 1),
        "state": (1, 1),
        "prefix": (0, 1),
        "answer": (0, 0),
    }[stage]
    assert kept["states"].nbytes == 1000 * kept["states"].entries


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError(CUDA_WORDS),
        MemoryError,
        lambda: RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
    ],
    ids=["GPU", "numpy", "CPU"],
)
def test_short_whatever_is_tried_it_says_so_and_the_next_one_is_answered(error: Callable[[], Exception]) -> None:
    shortage = Shortage()
    engine = make_engine(shortage)
    shortage.stage, shortage.times, shortage.error = "answer", 3, error
    with pytest.raises(
        DeviceMemoryError, match=r"not enough memory for the stage 'answer'.*lower image_cache_mb"
    ) as raised:
        ask(engine, "a")
    assert raised.value.__cause__ is raised.value.__context__ is None, "the error's frames hold tensors"
    assert (engine.shortages, engine.stage_s) == (3, 0.0)
    assert ask(engine, "a")


def test_another_error_is_not_tried_again() -> None:
    shortage = Shortage()
    engine = make_engine(shortage)
    shortage.stage, shortage.times, shortage.error = "answer", 1, lambda: RuntimeError("CUDA error: illegal address")
    with pytest.raises(RuntimeError, match="illegal address"):
        ask(engine, "a")
    assert engine.shortages == 0


def test_what_torch_says_when_main_memory_lacks_is_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


class Narrow(FakePredictor):
    """Has memory for passes of ``room`` questions."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.passes: list[tuple[int, bool]] = []

    def answers(self, state: FakeState, prompts: Sequence[Prompt]) -> list[Answer]:
        self.passes.append((len(prompts), one_at_a_time.get()))
        if len(prompts) > self.room:
            raise torch.OutOfMemoryError(CUDA_WORDS)
        return super().answers(state, prompts)


def test_several_questions_that_are_too_much_at_once_are_asked_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    """They are answered as where there is memory, in their order; and the next request is asked at once again."""
    prompts = [Prompt(Task.INTERACTIVE, (Point(x, 4),)) for x in range(1, 6)]
    asker = Asker(Priority.INTERACTIVE)
    narrow, roomy = Narrow(1), Narrow(8)
    engines = [Engine(one, PictureMemory(Budget(0, 0, 0)), wait_limit_s=5) for one in (narrow, roomy)]
    found, expected = (engine.answer(PICTURE, "a", prompts, asker).answers for engine in engines)
    assert len(found) == len(expected) == 5
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.instances.masks, other.instances.masks)
    assert narrow.passes == [(5, False), (5, False)] + [(1, True)] * 5
    assert roomy.passes == [(5, False)]
    assert engines[0].shortages == 2
    assert "in the smallest passes" in caplog.text
    assert not one_at_a_time.get()
    narrow.room = 8
    engines[0].answer(PICTURE, "a", prompts, asker)
    assert narrow.passes[-1] == (5, False)


def test_a_stage_that_cannot_be_made_smaller_says_so_after_two_tries() -> None:
    shortage = Shortage()
    engine = make_engine(shortage)
    shortage.stage, shortage.times = "look", 2
    with pytest.raises(DeviceMemoryError, match="stage 'look' of this picture, also with nothing else kept \\("):
        ask(engine, "a")
    assert engine.shortages == 2


class NarrowDecoder:
    """In the place of a segmentor's ``forward``: a pass of more than one row finds no memory."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward, self.rows = forward, list[int]()

    def __call__(self, pixels: Any, pictures: torch.Tensor, *rest: Any) -> Any:
        self.rows.append(len(pictures))
        if len(pictures) > 1:
            raise torch.OutOfMemoryError(CUDA_WORDS)
        return self.forward(pixels, pictures, *rest)


@pytest.mark.parametrize(
    "prompts",
    [
        [Prompt(Task.INTERACTIVE, (Box(4 * x, 10, 4 * x + 30, 60),)) for x in range(1, 5)],
        [Prompt(Task.REFERRING, phrase=f"the {name}") for name in ("red disc", "left block", "sky")],
        [Prompt(Task.GENERIC, categories=(Category("a disc", "disc"),))],
    ],
    ids=["boxes", "phrases", "windows"],
)
def test_the_model_answers_the_same_in_smaller_passes(monkeypatch: pytest.MonkeyPatch, prompts: list[Prompt]) -> None:
    """A GPU that is full can't be had here; the shipped model runs out where its decoder gets more than one row."""
    shipped = load_predictor("tiny", device="cpu")
    sizes = {"disc": 0.05} if prompts[0].task is Task.GENERIC else {}  # small ones are looked for in windows
    predictor = Predictor(shipped.model, shipped.tokenizer, "v", typical_sizes=sizes)
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    asker = Asker(Priority.INTERACTIVE)

    def answered() -> list[Answer]:
        engine = Engine(predictor, PictureMemory(Budget(0, 0, 0)), wait_limit_s=60)
        return engine.answer(picture, "a", prompts, asker).answers

    expected = answered()
    narrow = NarrowDecoder(predictor.model.segmentor.forward)
    monkeypatch.setattr(predictor.model.segmentor, "forward", narrow)
    found = answered()
    assert max(narrow.rows) > 1, "it did run out"
    for one, other in zip(found, expected, strict=True):
        assert one.instances.labels == other.instances.labels
        np.testing.assert_allclose(one.instances.scores, other.instances.scores, atol=1e-4)
        assert (one.instances.masks == other.instances.masks).mean() > 0.999 if len(one.instances) else True
