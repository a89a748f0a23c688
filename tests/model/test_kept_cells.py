"""What further clicks read of a picture is made once, counted, and the same as if it were made for each of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from small_models import noise_picture, small_predictor

from xsam_backend.inference.engine import Asker, Engine
from xsam_backend.inference.picture_memory import Budget, PictureMemory
from xsam_backend.inference.scheduling import Priority
from xsam_backend.model import kept_cells
from xsam_backend.model.kept_cells import FINER, KeptCells
from xsam_backend.model.picture_cells import PictureCells, comparable
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.query_worth import picture_part
from xsam_backend.prompts import Point, Prompt, Task

PICTURE = noise_picture()
FRAME = PictureFrame((64, 64), (48, 64), (48, 64))
CLICKS = (Point(30, 20), Point(40, 30), Point(10, 40, positive=False), Point(50, 8))


def clicked(count: int) -> Prompt:
    return Prompt(Task.INTERACTIVE, CLICKS[:count], score_threshold=0.0)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The features of all cells that are made during a test."""
    seen: list[Any] = []

    def noted(features: torch.Tensor) -> torch.Tensor:
        seen.append(features)
        return comparable(features)

    monkeypatch.setattr(kept_cells, "comparable", noted)
    return seen


@pytest.mark.parametrize("close_up_share", [0.0, 2.0], ids=["in the whole picture", "in a close-up"])
def test_further_clicks_on_one_object_make_its_cells_once(made: list[Any], close_up_share: float) -> None:
    predictor = small_predictor(close_up_share=close_up_share, refines_clicks=True)
    state = predictor.encode(PICTURE)
    predictor.answer(state, clicked(1))
    assert not made, "one click needs none"
    answers = [predictor.answer(state, clicked(count)) for count in (2, 3, 4, 4)]
    with_cells = [one for one in (state, *state.looks._close_ups) if one.cells.nbytes]
    assert state in with_cells, "that is where closer looks begin"
    assert (len(with_cells) > 1) == (close_up_share > 0)
    assert len(made) == len(with_cells)
    for count, answer in zip((2, 3, 4, 4), answers, strict=True):
        fresh = predictor.answer(predictor.encode(PICTURE), clicked(count))
        assert np.array_equal(answer.instances.masks, fresh.instances.masks)
        assert np.array_equal(answer.instances.scores, fresh.instances.scores)


def test_a_state_and_the_one_with_another_prefix_share_them(made: list[Any]) -> None:
    predictor = small_predictor()
    bare = predictor.state(PICTURE, predictor.look(PICTURE))
    for _ in range(2):
        predictor.answer(bare.with_prefix(predictor.prefix(bare)), clicked(2))
    assert len(made) == 1
    assert bare.cells.nbytes > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_are_what_was_made_for_each_click(dtype: torch.dtype) -> None:
    features = torch.randn(8, 16, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    cells = KeptCells(features, PICTURE, FRAME).get()
    own = picture_part(features.float(), FRAME)
    size_hw = own.shape[1] * FINER, own.shape[2] * FINER
    expected = PictureCells(comparable(own), PICTURE, size_hw)
    assert cells.features.dtype == torch.float32
    assert torch.equal(cells.features, expected.features)
    assert np.array_equal(cells.colours, expected.colours)
    assert np.array_equal(cells.unlikeness(3, 5), expected.unlikeness(3, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bytes_are_counted_once_they_are_there(dtype: torch.dtype) -> None:
    kept = KeptCells(torch.ones(8, 16, 16, dtype=dtype), PICTURE, FRAME)
    assert kept.nbytes == 0
    cells = kept.get()
    assert kept.nbytes == kept.nbytes_made == cells.features.untyped_storage().nbytes() + cells.colours.nbytes


@pytest.mark.parametrize("close_up_share", [0.0, 2.0], ids=["in the whole picture", "in a close-up"])
def test_a_state_counts_them(close_up_share: float) -> None:
    predictor = small_predictor(close_up_share=close_up_share)
    state = predictor.encode(PICTURE)
    predictor.answer(state, clicked(2))
    kept = [one.cells for one in (state, *state.looks._close_ups)]
    with_cells, of_cells = state.nbytes, sum(cells.nbytes for cells in kept)
    for cells in kept:
        cells._made = None
    assert 0 < of_cells == with_cells - state.nbytes


def test_the_cache_counts_them_and_drops_them_with_the_state() -> None:
    predictor = small_predictor()
    engine = Engine(predictor, PictureMemory(Budget(10**7, 10**7, 10**7)), wait_limit_s=30)
    asker = Asker(Priority.INTERACTIVE)
    engine.answer(PICTURE, "a", [clicked(1)], asker)
    before = engine.cache_stats["states"].nbytes
    cells = engine.answer(PICTURE, "a", [clicked(2)], asker).state.cells
    grown = engine.cache_stats["states"].nbytes
    assert grown == before + cells.nbytes_made
    small = Engine(predictor, PictureMemory(Budget(0, before, 10**7)), wait_limit_s=30)
    small.answer(PICTURE, "a", [clicked(1)], asker)
    assert small.cache_stats["states"].entries == 1
    small.answer(PICTURE, "a", [clicked(2)], asker)
    assert small.cache_stats["states"].nbytes == 0, "with them it is larger than the budget"


def test_threads_make_them_once(made: list[Any]) -> None:
    kept = KeptCells(torch.ones(8, 16, 16), PICTURE, FRAME)
    with ThreadPoolExecutor(8) as pool:
        cells = set(pool.map(lambda _: kept.get(), range(32)))
    assert len(made) == len(cells) == 1


def test_what_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(_features: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    kept = KeptCells(torch.ones(8, 16, 16), PICTURE, FRAME)
    with monkeypatch.context() as patched:
        patched.setattr(kept_cells, "comparable", out_of_memory)
        with pytest.raises(torch.OutOfMemoryError):
            kept.get()
    assert kept.nbytes == 0
    assert kept.get().size_hw == (24, 32)
