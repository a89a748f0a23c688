"""Compiled parts answer as before, for one picture, and never with the numbers of another version."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from small_models import noise_picture, small_predictor
from torch import nn

from xsam_backend.errors import SettingsError
from xsam_backend.model.compiling import PARTS, compile_parts, is_compiled
from xsam_backend.model.delta import Delta, sharing_copy
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.model.versions import changed

PICTURE = noise_picture()


def parts(predictor: Predictor) -> list[nn.Module]:
    return [predictor.model.get_submodule(name) for name in PARTS]


def stand_in(monkeypatch: pytest.MonkeyPatch, run: Callable[[nn.Module], object]) -> None:
    """Instead of torch's compiler: ``run`` is called each time that compiled code would be."""

    def compiled(self: nn.Module, **_options: Any) -> None:
        def call(*given: Any, **named: Any) -> Any:
            run(self)
            return self._call_impl(*given, **named)

        self._compiled_call_impl = call

    monkeypatch.setattr(nn.Module, "compile", compiled)


def encoded(predictor: Predictor) -> list[torch.Tensor]:
    state = predictor.encode(PICTURE)
    return list(state.encoded.features.tensors)


def compile_all(predictor: Predictor) -> None:
    compile_parts(predictor.model, lambda: encoded(predictor))


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler, and there is none"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # the compiler's own code is older than torch's
def test_compiled_parts_give_the_same() -> None:
    """Within what the parity tests allow; and no later request waits for the compiler."""
    predictor = small_predictor(encoders="released")
    before = encoded(predictor)
    compile_all(predictor)
    assert all(map(is_compiled, parts(predictor))), "else the compiler failed"
    for ours, expected in zip(encoded(predictor), before, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)

    def as_a_request() -> None:
        with torch.compiler.set_stance("fail_on_recompile"):
            predictor.encode(noise_picture(1, (30, 90)))

    with ThreadPoolExecutor(1) as another_thread:
        another_thread.submit(as_a_request).result()


def test_each_part_runs_compiled_for_one_picture_and_as_it_is_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[nn.Module] = []
    stand_in(monkeypatch, ran.append)
    predictor = small_predictor()
    compile_all(predictor)
    assert {id(part) for part in ran} == {id(part) for part in parts(predictor)}
    ran.clear()
    with torch.inference_mode():
        together, _ = predictor.dialogue.encode([PICTURE, PICTURE[::-1].copy()])
    assert ran == []
    for ours, expected in zip(together.features.tensors, encoded(predictor), strict=True):
        torch.testing.assert_close(ours[:1], expected, atol=1e-4, rtol=1e-4)


def test_where_the_compiler_fails_all_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(part: nn.Module) -> None:
        raise RuntimeError("no g++ here\nand many lines more")

    predictor = small_predictor()
    before = encoded(predictor)
    stand_in(monkeypatch, fail)
    compile_all(predictor)
    (record,) = caplog.records
    assert "(no g++ here): is a C++ compiler there?" in record.getMessage()
    assert not any(map(is_compiled, parts(predictor)))
    assert all(map(torch.equal, encoded(predictor), before))


def of_version(base: Predictor, parameter: str) -> Predictor:
    """A version that changes one parameter."""
    tensor = base.model.get_parameter(parameter) + 1
    return changed(base, Delta(base.model_version, 1.0, {}, {parameter: tensor}), "version")


@pytest.mark.parametrize(
    ("parameter", "shared"),
    [
        ("connector.model.0.model.0.weight", {"vision_encoder", "segmentor_encoder"}),
        ("segmentor.pixel_decoder.level_embed", {"vision_encoder", "segmentor_encoder"}),
        ("segmentor_encoder.token_projection.bias", set()),
    ],
)
def test_a_version_runs_no_code_of_its_base_but_for_what_they_share(
    parameter: str, shared: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = small_predictor()
    expected = encoded(of_version(plain, parameter))
    assert not all(map(torch.equal, expected, encoded(plain))), "the change shows"
    stand_in(monkeypatch, lambda _part: None)
    base = small_predictor()
    compile_all(base)
    version = of_version(base, parameter)
    assert {name for name in PARTS if is_compiled(version.model.get_submodule(name))} == shared
    assert all(map(torch.equal, encoded(version), expected))
    assert version.encoder_version == of_version(plain, parameter).encoder_version


def test_copies_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, lambda _part: None)
    predictor = small_predictor()
    compile_all(predictor)
    for model in (copy.deepcopy(predictor.model), sharing_copy(predictor.model)):
        assert not any(is_compiled(model.get_submodule(name)) for name in PARTS)
    assert all(map(is_compiled, parts(predictor)))


def test_a_model_is_compiled_when_it_is_loaded_by_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[nn.Module] = []
    stand_in(monkeypatch, ran.append)
    assert not any(map(is_compiled, parts(load_predictor("tiny", "cpu"))))
    predictor = load_predictor("tiny", "cpu", compiled=True)
    assert {id(part) for part in ran} == {id(part) for part in parts(predictor)}, "before the first picture"
    predictor.encode(np.zeros((8, 8, 3), np.uint8))


def test_four_bits_are_not_compiled() -> None:
    with pytest.raises(SettingsError, match="compile isn't for a model in four bits"):
        load_predictor("tiny", "cpu", "four-bits", compiled=True)
