"""A refiner that is trained on little knows that little; it goes on after a kill, and ships in half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click_parts import answer
from safetensors.torch import load_file

from xsam_backend.errors import DatasetError
from xsam_backend.model.click_refiner import ClickRefiner
from xsam_backend.training.clicks import training
from xsam_backend.training.clicks.training import ClickTraining, export_refiner, mask_loss, traces, train_refiner

LITTLE = ClickTraining(steps=30, at_once=4, warmup=5, save_every=10)
PICTURES = [[answer(slice(8, 14))], [answer(slice(12, 20))], []]


def test_it_learns(tmp_path: Path) -> None:
    losses: dict[int, float] = {}
    refiner = train_refiner(PICTURES, tmp_path, LITTLE, lambda step, _refiner, loss: losses.update({step: loss}))
    assert list(losses) == [10, 20, 30]
    assert losses[30] < losses[10] / 2
    (before,), (after,) = (traces(one, [PICTURES[0][0]], 3, 0.99) for one in (ClickRefiner().eval(), refiner))
    assert before[0] == after[0], "the first hint's answer isn't the refiner's"
    assert after[1] > before[1]


def test_a_killed_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(step: int, _refiner: ClickRefiner, _loss: float) -> None:
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_refiner(PICTURES, tmp_path, LITTLE, kill)
    rates: list[int] = []
    rate = ClickTraining.rate
    monkeypatch.setattr(ClickTraining, "rate", lambda self, step: rates.append(step) or rate(self, step))
    told: list[int] = []
    train_refiner(PICTURES, tmp_path, LITTLE, lambda step, _refiner, _loss: told.append(step))
    assert told == [20, 30]
    assert rates == list(range(10, 30))
    trained_on = train_refiner(PICTURES, tmp_path, LITTLE, lambda *_: pytest.fail("it is done"))
    assert all(torch.isfinite(tensor).all() for tensor in trained_on.state_dict().values())


def test_pictures_without_objects_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no object of at least"):
        train_refiner([[], []], tmp_path, LITTLE, lambda *_: None)


def test_weights_ship_in_half_precision(tmp_path: Path) -> None:
    path = tmp_path / "refiner.safetensors"
    refiner = ClickRefiner()
    export_refiner(refiner, path)
    stored = load_file(path)
    assert set(stored) == set(refiner.state_dict())
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert path.stat().st_size < 2.5e6, "it is part of the package"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_the_loss_is_least_for_the_truth() -> None:
    truth = torch.zeros(2, 8, 8)
    truth[:, 2:6, 2:6] = 1
    right, nothing = (mask_loss(20 * (mask - 0.5), truth) for mask in (truth, torch.zeros(2, 8, 8)))
    assert right < 1e-3 < 1 < nothing


def test_rates_rise_and_fall() -> None:
    settings = ClickTraining(steps=1000, warmup=10)
    rates = [settings.rate(step) for step in range(1000)]
    assert np.argmax(rates) in range(8, 12)
    assert rates[0] == pytest.approx(settings.learning_rate / 10)
    assert rates[-1] < settings.learning_rate / 1000
    assert training.MOST_CLICKS < 20
