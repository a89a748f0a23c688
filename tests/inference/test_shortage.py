"""The device has no memory left: what is kept is dropped, the stage tried once more; then clear words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from fake_predictor import FakePredictor

from xsam_backend.errors import DeviceMemoryError
from xsam_backend.inference.engine import Asker, Engine
from xsam_backend.inference.picture_memory import Budget, PictureMemory
from xsam_backend.inference.scheduling import Priority
from xsam_backend.inference.shortage import is_out_of_memory
from xsam_backend.prompts import Point, Prompt, Task

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
def test_short_twice_it_says_so_and_the_next_one_is_answered(error: Callable[[], Exception]) -> None:
    shortage = Shortage()
    engine = make_engine(shortage)
    shortage.stage, shortage.times, shortage.error = "answer", 2, error
    with pytest.raises(
        DeviceMemoryError, match=r"not enough memory for the stage 'answer'.*lower image_cache_mb"
    ) as raised:
        ask(engine, "a")
    assert raised.value.__cause__ is raised.value.__context__ is None, "the error's frames hold tensors"
    assert (engine.shortages, engine.stage_s) == (2, 0.0)
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
