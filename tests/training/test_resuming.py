"""States of other runs: refused where they don't fit, taken as far as they do, with a word about what changes."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import small_model
from trainings import Stream, training

from xsam_backend.errors import CheckpointError
from xsam_backend.training.loop import train
from xsam_backend.training.resuming import place_in
from xsam_backend.training.state import STATE, State

STAGES: Sequence[Mapping[str, Any]] = ({"name": "words", "steps": 3}, {"name": "mixed", "steps": 5})


@pytest.mark.parametrize(
    ("facts", "place"),
    [
        pytest.param({"stage": "words", "step_of_stage": 2}, (0, 2), id="in the first"),
        pytest.param({"stage": "words", "step_of_stage": 3}, (0, 3), id="at its end"),
        pytest.param({"stage": "mixed", "step_of_stage": 4}, (1, 4), id="in the second"),
        pytest.param({"stage": "mixed", "step_of_stage": 9}, (1, 9), id="which was longer then"),
        pytest.param({"step": 2}, (0, 2), id="older states count over all stages"),
        pytest.param({"step": 3}, (0, 3), id="older, where two meet: it ends the first"),
        pytest.param({"step": 4}, (1, 1), id="older, in the second"),
        pytest.param({"step": 30}, (1, 27), id="older, of a longer run"),
    ],
)
def test_where_a_state_is(tmp_path: Path, facts: Mapping[str, Any], place: tuple[int, int]) -> None:
    assert place_in(State({}, facts), training(tmp_path, *STAGES)) == place


def test_a_stage_that_the_config_lacks(tmp_path: Path) -> None:
    state = State({}, {"stage": "alignment", "step_of_stage": 2})
    with pytest.raises(
        CheckpointError, match="is in stage 'alignment', the config has words, mixed: name a stage so"
    ):
        place_in(state, training(tmp_path, *STAGES))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"language": "qwen3"}, r"not a state of this model .*; take another folder"),
        ({"region_points": 32, "max_text_tokens": 256}, None),
    ],
    ids=["other layers", "same tensors"],
)
def test_a_state_of_another_model(tmp_path: Path, model: Mapping[str, Any], words: str | None) -> None:
    train(small_model(), training(tmp_path, {"steps": 1}), [Stream()])
    if words is None:
        train(small_model(**model), training(tmp_path, {"steps": 1}), [Stream()])
        return
    with pytest.raises(CheckpointError, match=words):
        train(small_model(**model), training(tmp_path, {"steps": 1}), [Stream()])


def test_a_model_of_the_same_tensors_that_learns_otherwise(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(small_model(), training(tmp_path, {"steps": 1}), [Stream()])
    with caplog.at_level(logging.WARNING):
        train(small_model(region_points=17), training(tmp_path, {"steps": 1}), [Stream()])
    assert re.search(r"other settings than before: model\.region_points: \d+ -> 17$", caplog.text, re.MULTILINE)


def test_a_run_that_began_with_other_weights(tmp_path: Path) -> None:
    """What was never trained isn't in a state: it would be another model's."""
    train(small_model(), training(tmp_path, {"steps": 1}), [Stream()], "tiny-0000")
    with pytest.raises(
        CheckpointError, match="began with tiny-0000, this run begins with tiny-1111: take another fol"
    ):
        train(small_model(), training(tmp_path, {"steps": 2}), [Stream()], "tiny-1111")


def test_other_parameters_start_the_optimizer_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Unfreezing the trunk in the middle of a stage is meant to work."""
    train(small_model(), training(tmp_path, {"steps": 2}), [Stream()])
    with caplog.at_level(logging.WARNING):
        train(small_model(), training(tmp_path, {"steps": 3, "trunk_learning_rate": 1e-4}), [Stream()])
    assert "other parameters were trained before; the optimizer starts anew" in caplog.text
    assert "trained only now: they start as the model came" in caplog.text
    assert "stages.0.trunk_learning_rate: 0.0 -> 0.0001" in caplog.text


def test_the_same_settings_are_no_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = training(tmp_path, {"steps": 2})
    train(small_model(), config, [Stream()])
    with caplog.at_level(logging.WARNING):
        train(small_model(), config, [Stream()])
        train(small_model(), config.model_copy(update={"save_every": 7, "log_every": 3}), [Stream()])
    assert not caplog.records, "how often it saves and logs changes no loss"


def test_a_state_from_before_stages_had_names(tmp_path: Path) -> None:
    """It goes on exactly: the same tensors under the same names, all of the model, and the number of the step."""
    config = training(tmp_path / "new", {"steps": 4})
    with pytest.raises(KeyboardInterrupt):
        train(small_model(), config, [Stream(killed_at=3)])
    tensors = load_file(tmp_path / "new" / STATE)
    everything = {f"model.{name}": tensor for name, tensor in small_model().state_dict().items()}
    everything |= {f"average.{name.removeprefix('model.')}": tensor for name, tensor in everything.items()}
    (tmp_path / "old").mkdir()
    owned = {name: tensor.clone() for name, tensor in (everything | tensors).items()}
    save_file(owned, tmp_path / "old" / STATE, metadata={"step": "2", "settings": "{}"})
    new = train(small_model(), config, [Stream()])
    old = train(small_model(), training(tmp_path / "old", {"steps": 4}), [Stream()])
    for name, tensor in new.state_dict().items():
        assert torch.equal(tensor, old.state_dict()[name]), name
