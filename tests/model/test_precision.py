from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import noise_picture, small_model, tokenizer

from xsam_backend.errors import CheckpointError
from xsam_backend.geometry.masks import mask_iou
from xsam_backend.model import precision
from xsam_backend.model.checkpoint import save_model
from xsam_backend.model.folders import SHIPPED
from xsam_backend.model.main_memory import available_bytes
from xsam_backend.model.precision import choose_dtype, main_dtype, stored_layout
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Box, Category, Point, Prompt, Task


@pytest.mark.parametrize(
    ("setting", "stored", "device", "expected"),
    [
        ("auto", "float16", "cpu", torch.float32),  # the shipped model
        ("auto", "float32", "cpu", torch.float32),
        ("auto", "bfloat16", "cpu", torch.bfloat16),  # a large one: mapped, not copied
        ("auto", "float32", "cuda:1", torch.bfloat16),
        ("auto", "bfloat16", "cuda", torch.bfloat16),
        ("float32", "bfloat16", "cpu", torch.float32),  # what is asked for, wins
        ("float16", "bfloat16", "cuda", torch.float16),
    ],
)
def test_the_format_to_run_in(
    setting: str, stored: str, device: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    assert choose_dtype(setting, stored, device) == expected


@pytest.mark.parametrize(
    ("setting", "stored", "device", "free", "expected", "reason"),
    [
        ("auto", "bfloat16", "cpu", 8000, torch.float32, "emulated products are slower than a copy is large"),
        ("auto", "bfloat16", "cpu", 7999, torch.bfloat16, "a copy would take more than half of what is free"),
        ("auto", "float16", "cpu", 0, torch.float32, "it is so everywhere"),
        ("auto", "bfloat16", "cuda", 8000, torch.bfloat16, "it isn't the processor that multiplies"),
        ("bfloat16", "bfloat16", "cpu", 8000, torch.bfloat16, "what is asked for, wins"),
    ],
)
def test_where_the_processor_emulates_bfloat16(
    setting: str,
    stored: str,
    device: str,
    free: int,
    expected: torch.dtype,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(precision, "available_bytes", lambda: free)
    assert choose_dtype(setting, stored, device, 1000) == expected, reason
    assert ("doesn't multiply bfloat16" in caplog.text) == (free == 7999), "who waits is told why"


def test_a_model_is_loaded_in_the_format_that_suits_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(small_model(), tmp_path, torch.bfloat16)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((SHIPPED / "tiny" / name).read_bytes())
    for multiplies, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precision, "multiplies_bfloat16", lambda multiplies=multiplies: multiplies)
        predictor = load_predictor(str(tmp_path), "cpu")
        assert predictor.model.dtype == expected
        assert str(expected).removeprefix("torch.") in predictor.encoder_version


@pytest.mark.parametrize(
    ("files", "expected", "reason"),
    [
        ({}, 5 * 2**20, "no container"),
        ({"memory.max": "max\n", "memory.current": "7\n"}, 5 * 2**20, "one without a limit"),
        ({"memory.max": "1000\n", "memory.current": "700\n"}, 300, "its limit is nearer"),
        ({"memory.max": "1000\n", "memory.current": "1001\n"}, 0, "it's over its limit"),
        ({"memory.max": str(2**40), "memory.current": "1"}, 5 * 2**20, "the machine has less"),
    ],
)
def test_memory_that_is_free(tmp_path: Path, files: dict[str, str], expected: int, reason: str) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16384 kB\nMemFree: 1024 kB\nMemAvailable:    5120 kB\n")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_bytes(meminfo, tmp_path) == expected, reason


def test_memory_where_nothing_tells_it(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "none", tmp_path) > 0


def test_the_stored_format_is_that_of_most_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"scale": torch.ones(3), "table": torch.ones(2, 8, dtype=torch.bfloat16)}, path)
    layout = stored_layout(path)
    assert layout == {"scale": ((3,), "float32"), "table": ((2, 8), "bfloat16")}
    assert main_dtype(layout) == "bfloat16"


def test_what_is_no_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: cannot be read"):
        stored_layout(tmp_path / "a.safetensors")


PROMPTS = [
    Prompt(Task.INTERACTIVE, (Point(20, 20),)),
    Prompt(Task.INTERACTIVE, (Box(5, 5, 30, 30), Point(8, 8, positive=False))),
    Prompt(
        Task.GENERIC, categories=(Category("cat", "cat"), Category("sky", "sky", is_thing=False)), score_threshold=0
    ),
    Prompt(Task.REFERRING, phrase="a red ball", score_threshold=0),
    Prompt(Task.REASONING, phrase="what may roll away?", score_threshold=0),
    Prompt(Task.VGD, (Point(20, 20), Point(40, 30)), score_threshold=0),
    Prompt(Task.GCG),
    Prompt(Task.CONVERSATION, phrase="what is it?"),
]


def visible_model() -> XSam:
    """With the released encoders; SAM begins with weights of 1e-10, which float16 has no numbers for."""
    model = small_model(encoders="released")
    generator = torch.Generator().manual_seed(0)
    for parameter in model.segmentor_encoder.parameters():
        if parameter.abs().max() < 1e-6:
            torch.nn.init.normal_(parameter, 0, 0.05, generator=generator)
    return model


# What random weights draw is near a mask's edge all over: bfloat16's three decimal digits, which every processor
# rounds in its own way, move more of it than float16's.
@pytest.mark.parametrize(("dtype", "least_iou"), [(torch.bfloat16, 0.7), (torch.float16, 0.9)])
@pytest.mark.parametrize("prompt", PROMPTS, ids=[f"{prompt.task.value}-{i}" for i, prompt in enumerate(PROMPTS)])
def test_every_task_answers_in_half_precision(prompt: Prompt, dtype: torch.dtype, least_iou: float) -> None:
    """What generates text may write something else; the rest is near."""
    exact = Predictor(visible_model(), tokenizer(), "exact")
    half = Predictor(visible_model().to(dtype), tokenizer(), "half")
    ours = half.answer(half.encode(noise_picture()), prompt)
    assert ours.instances.scores.dtype == np.float32
    if prompt.task in (Task.INTERACTIVE, Task.REFERRING, Task.REASONING):
        expected = exact.answer(exact.encode(noise_picture()), prompt)
        assert len(ours.instances) == len(expected.instances) == 1
        assert np.allclose(ours.instances.scores, expected.instances.scores, atol=0.02)
        assert mask_iou(ours.instances.masks[0], expected.instances.masks[0]) > least_iou


def test_class_logits_are_computed_in_full() -> None:
    """Cosines near 1 differ by less than bfloat16 can tell, and a scale of a hundred multiplies them."""
    segmentor = small_model().segmentor.to(torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(1, 8, 32, generator=generator).to(torch.bfloat16)
    near = (state[:, :3] + 0.1 * torch.randn(1, 3, 32, generator=generator)).to(torch.bfloat16)
    logits = segmentor.class_logits(state, near, None)
    exact = segmentor.float().class_logits(state.float(), near.float(), None)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, exact)
