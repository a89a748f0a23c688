"""The language model in four bits: nearly the same answers, pairs beside its matrices, a fraction of the memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from small_models import noise_picture, small_model, tokenizer

from xsam_backend.errors import CheckpointError, SettingsError
from xsam_backend.evaluation.simulated_prompts import exact_box
from xsam_backend.model.checkpoint import load_model, load_tokenizer
from xsam_backend.model.delta import Delta, with_delta
from xsam_backend.model.folders import SHIPPED
from xsam_backend.model.four_bits import PairBeside, is_in_four_bits, put_in_four_bits
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Box, Prompt, Task
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, draw_scene

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install '.[four-bits]'")
CPU = torch.device("cpu")


def quantized(model: XSam | None = None) -> XSam:
    return put_in_four_bits((model or small_model()).to(torch.bfloat16), CPU)


def test_all_matrices_of_the_language_model_but_the_words_are_packed() -> None:
    model = quantized()
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
    packed = {name for name, layer in layers.items() if is_in_four_bits(layer)}
    assert packed == {name for name in layers if name.startswith("language.") and not name.endswith("lm_head")}
    for name in packed:
        assert layers[name].weight.nbytes == layers[name].in_features * layers[name].out_features / 2


def test_a_box_means_nearly_the_same_object() -> None:
    scene = draw_scene(FIRST_HELD_OUT_SEED + 1)
    largest = int(np.argmax(scene.masks.sum((1, 2)) * scene.is_thing))
    prompt = Prompt(Task.INTERACTIVE, (exact_box(scene.masks[largest]),), score_threshold=0.0)
    masks = []
    for model in (load_tiny(), put_in_four_bits(load_tiny(), CPU)):
        predictor = Predictor(model, load_tokenizer(SHIPPED / "tiny"), "v")
        masks.append(predictor.answer(predictor.encode(scene.image), prompt).instances.masks[0])
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.9


def test_a_model_is_served_in_four_bits_where_the_number_format_says_so() -> None:
    predictor = load_predictor("tiny", "cpu", "four-bits")
    layers = [layer for layer in predictor.model.language.modules() if is_in_four_bits(layer)]
    assert layers
    assert predictor.model.dtype == torch.bfloat16, "all else"
    plain = load_predictor("tiny", "cpu", "bfloat16")
    packed, whole = (sum(p.nbytes for p in one.model.language.parameters()) for one in (predictor, plain))
    assert packed < whole
    answer = predictor.answer(predictor.encode(noise_picture()), Prompt(Task.INTERACTIVE, (Box(8, 8, 20, 20),)))
    assert answer.instances.size_hw == noise_picture().shape[:2]


def load_tiny() -> XSam:
    return load_model(SHIPPED / "tiny", torch.bfloat16)


def test_changes_lie_beside_packed_matrices() -> None:
    base = quantized()
    name = next(name for name, layer in base.named_modules() if is_in_four_bits(layer))
    layer = base.get_submodule(name)
    assert isinstance(layer, torch.nn.Linear)
    a, b = torch.randn(2, layer.in_features), torch.randn(layer.out_features, 2)
    changed = with_delta(base, "v", Delta("v", 0.5, {f"{name}.weight": (a, b)}, {}))
    beside = changed.get_submodule(name)
    assert isinstance(beside, PairBeside)
    assert beside.layer.weight.data_ptr() == layer.weight.data_ptr(), "shared, not copied"
    assert base.get_submodule(name) is layer, "the base stays as it is"
    inputs = torch.randn(3, layer.in_features, dtype=torch.bfloat16)
    expected = layer(inputs).float() + 0.5 * inputs.float() @ a.T @ b.T
    torch.testing.assert_close(beside(inputs).float(), expected, atol=0.5, rtol=0.05)
    state = Predictor(changed, tokenizer(), "v").encode(noise_picture())
    assert state.size_hw == noise_picture().shape[:2]


def test_changes_of_another_size_are_refused() -> None:
    base = quantized()
    name = next(name for name, layer in base.named_modules() if is_in_four_bits(layer))
    with pytest.raises(CheckpointError, match="don't fit the model"):
        with_delta(base, "v", Delta("v", 0.5, {f"{name}.weight": (torch.randn(2, 3), torch.randn(5, 2))}, {}))


def test_without_bitsandbytes_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)
    with pytest.raises(SettingsError, match=r"'\.\[four-bits\]' .* or set dtype to auto and train_four_bits"):
        put_in_four_bits(small_model(), CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu() -> None:
    model = put_in_four_bits(small_model().to(torch.bfloat16), torch.device("cuda"))
    predictor = Predictor(model, tokenizer(), "v")
    prompt = Prompt(Task.INTERACTIVE, (Box(10, 10, 20, 20),), score_threshold=0.0)
    answer = predictor.answer(predictor.encode(noise_picture()), prompt)
    assert np.isfinite(answer.instances.scores).all()
