"""Low-rank pairs: nothing before training, alone trained, the same as a delta, merged, and after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import noise_picture, small_model, tokenizer
from trainings import Stream, training

from xsam_backend.errors import SettingsError
from xsam_backend.model.delta import with_delta
from xsam_backend.model.image_processor import frame_regions
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.turns import interactive_turn
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Point
from xsam_backend.region_masks import region_mask
from xsam_backend.training.config import LoraConfig, TrainConfig
from xsam_backend.training.loop import train
from xsam_backend.training.lora import add_lora, clean_name, merge_lora, take_delta

LORA: dict[str, Any] = {"parts": ("language", "segmentor"), "rank": 2, "alpha": 4}
PARTS = ("language", "llm_projector", "segmentor")


@torch.inference_mode()
def logits(model: XSam) -> torch.Tensor:
    """Mask logits of one click on one picture."""
    predictor = Predictor(model.eval(), tokenizer(), "small-1")
    region = frame_regions(region_mask(Point(20, 20), (48, 64))[None], predictor.dialogue.processor.seg_size)
    state = predictor.encode(noise_picture())
    dialogue = predictor.dialogue
    ((_, mask_logits),) = dialogue.ask(state.encoded, interactive_turn(), dialogue.embedded(state.encoded, region))
    return mask_logits


def with_pairs() -> XSam:
    model = small_model()
    add_lora(model, LoraConfig(**LORA))
    return model


def config_of(run: Path, **stage: Any) -> TrainConfig:
    return training(
        run, {"trains": PARTS, "grounding": False, "learning_rate": 1e-2, **stage}, lora=LORA, start="tiny"
    )


def trained(run: Path) -> XSam:
    return train(with_pairs(), config_of(run), [Stream()], "small-1")


def test_pairs_change_nothing_before_they_are_trained() -> None:
    torch.testing.assert_close(logits(with_pairs()), logits(small_model()))


def test_the_seed_decides_how_pairs_begin() -> None:
    def begun(seed: int) -> torch.Tensor:
        model = small_model()
        torch.rand(seed + 1)  # whatever was drawn before
        add_lora(model, LoraConfig(**LORA), seed)
        return next(tensor for name, tensor in model.named_parameters() if "lora_A" in name)

    assert torch.equal(begun(1), begun(1))
    assert not torch.equal(begun(1), begun(2))


def test_pairs_and_the_parts_in_full_are_trained_and_nothing_else(tmp_path: Path) -> None:
    before = {name: tensor.detach().clone() for name, tensor in small_model().named_parameters()}
    model = trained(tmp_path / "run")
    changed = {
        clean_name(name)
        for name, tensor in model.named_parameters()
        if "lora_" not in name and not torch.equal(tensor, before[clean_name(name)])
    }
    in_full = {name for name in before if name.startswith(("llm_projector.", "background")) or "queries_" in name}
    assert changed == in_full
    pairs = [tensor for name, tensor in model.named_parameters() if "lora_B" in name]
    assert sum(bool(tensor.any()) for tensor in pairs) > len(pairs) / 2


def test_the_delta_on_the_base_is_the_trained_model_and_so_is_the_merged_one(tmp_path: Path) -> None:
    model = trained(tmp_path / "run")
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    delta = take_delta(model, "small-1", names)
    expected = logits(model)
    assert not torch.allclose(expected, logits(small_model()), atol=1e-3), "it has learned something"
    torch.testing.assert_close(logits(with_delta(small_model(), "small-1", delta)), expected, atol=1e-4, rtol=1e-4)
    merge_lora(model)
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in small_model().named_parameters()}
    torch.testing.assert_close(logits(model), expected, atol=1e-4, rtol=1e-4)
    whole = sum(parameter.numel() for parameter in model.parameters())
    assert delta.numbers < whole / 2


def test_a_killed_run_goes_on_with_its_pairs(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(with_pairs(), config_of(tmp_path / "killed"), [Stream(killed_at=3)], "small-1")
    again = trained(tmp_path / "killed")
    for (name, one), other in zip(whole.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"start": "nothing"}, "name one to start from", id="a model that knows nothing"),
        pytest.param({"lora": {"parts": ("nose",)}}, "parts", id="no such part"),
        pytest.param({"lora": {"rank": 0}}, "rank", id="no rank"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        training(tmp_path, **{"start": "tiny", "lora": LORA, **settings})


def test_parts_without_a_linear_layer_are_said() -> None:
    with pytest.raises(SettingsError, match=r"connector have no linear layer"):
        add_lora(small_model(), LoraConfig(parts=("connector",)))
