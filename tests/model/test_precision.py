from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import noise_picture, small_model, tokenizer

from xsam_backend.errors import CheckpointError
from xsam_backend.geometry.masks import mask_iou
from xsam_backend.model.precision import choose_dtype, main_dtype, stored_layout
from xsam_backend.model.predictor import Predictor
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
def test_the_format_to_run_in(setting: str, stored: str, device: str, expected: torch.dtype) -> None:
    assert choose_dtype(setting, stored, device) == expected


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
