"""A state that is put together from kept parts is the state that encoding at once gives, for every task."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import noise_picture, small_model, small_predictor, tokenizer

from xsam_backend.model.closer_looks import CLOSE_UP_BYTES, CloserLooks
from xsam_backend.model.delta import Delta, save_delta
from xsam_backend.model.packed_outputs import pack, unpack
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.tensor_memory import bytes_alive
from xsam_backend.model.versions import predictor_with_delta
from xsam_backend.model.vision import EncoderMaps, EncoderOutputs
from xsam_backend.prompts import Box, Category, Point, Prompt, Task

PICTURE = noise_picture()
PROMPTS = [
    Prompt(Task.INTERACTIVE, (Point(30, 20),)),
    Prompt(Task.GENERIC, categories=(Category("red ball", "Ball"), Category("dog", "Dog")), score_threshold=0.0),
    Prompt(Task.VGD, (Box(5, 5, 20, 20),), score_threshold=0.0),
    Prompt(Task.CONVERSATION, phrase="What is this?"),
]


@pytest.mark.parametrize("language", ["phi3", "qwen3"])
def test_parts_give_the_same_answers_as_the_whole(language: str) -> None:
    predictor = small_predictor(language=language)
    whole = predictor.encode(PICTURE)
    state = predictor.state(PICTURE, predictor.look(PICTURE))
    parts = state.with_prefix(predictor.prefix(state))
    assert parts.nbytes == whole.nbytes
    for prompt in PROMPTS:
        ours, expected = predictor.answer(parts, prompt), predictor.answer(whole, prompt)
        assert np.array_equal(ours.instances.masks, expected.instances.masks)
        assert np.array_equal(ours.instances.scores, expected.instances.scores)
        assert ours.text == expected.text


def test_a_state_without_its_prefix_is_not_asked() -> None:
    predictor = small_predictor()
    state = predictor.state(PICTURE, predictor.look(PICTURE))
    with pytest.raises(AssertionError, match="expected a state with its prefix"):
        predictor.answer(state, PROMPTS[0])


def test_packed_outputs_lose_the_last_digits_once() -> None:
    """What is handed out the first time is what a file gives after a restart."""
    outputs = small_predictor().look(PICTURE)
    once = unpack(pack(outputs), torch.float32)
    again = unpack(pack(once), torch.float32)
    for first, second, exact in zip(once.tensors, again.tensors, outputs.tensors, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, exact, rtol=1e-3, atol=1e-3)
    assert 0 < len(pack(outputs)) < 0.7 * sum(tensor.nbytes for tensor in outputs.tensors)


@pytest.mark.parametrize("factor", [1.0, 1e6], ids=["in half precision's range", "beyond it"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_outputs_keep_formats_and_large_numbers(dtype: torch.dtype, factor: float) -> None:
    tokens = torch.linspace(-9, 9, 24).reshape(1, 2, 3, 4).to(dtype) * factor
    outputs = EncoderOutputs(torch.ones(1, 3, 2, dtype=dtype), EncoderMaps(tokens, (tokens, tokens[..., :2])))
    found = unpack(pack(outputs), dtype)
    assert found.maps.tokens.dtype == dtype
    torch.testing.assert_close(found.maps.pyramid[1], tokens[..., :2], rtol=1e-3, atol=0)


@pytest.mark.parametrize("data", [b"", b"no tensors", pack(small_predictor().look(PICTURE))[:200]])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected an encoder's packed outputs"):
        unpack(data, torch.float32)


@pytest.mark.parametrize(
    ("part", "shares", "reason"),
    [
        ("connector", True, "encoders are as they were"),
        ("segmentor_encoder", False, "it sees otherwise"),
    ],
)
def test_versions_share_what_their_encoders_saw(tmp_path: Path, part: str, shares: bool, reason: str) -> None:
    base = Predictor(small_model(), tokenizer(), "small-1")
    name, parameter = next((n, p) for n, p in base.model.named_parameters() if n.startswith(part))
    save_delta(Delta("small-1", 1.0, {}, {name: parameter.detach() + 0.1}), tmp_path / "delta.safetensors")
    version = predictor_with_delta(base, tmp_path / "delta.safetensors", "small-1+a")
    assert (version.encoder_version == base.encoder_version) == shares, reason
    if shares:
        for ours, theirs in zip(version.look(PICTURE).tensors, base.look(PICTURE).tensors, strict=True):
            assert torch.equal(ours, theirs)


def test_bytes_count_each_piece_of_memory_once() -> None:
    whole = torch.zeros(10, 10)
    assert bytes_alive([whole, whole.T, whole[:2]]) == 400
    assert bytes_alive([whole[:1]]) == 400, "a view keeps all of it"
    assert bytes_alive([]) == 0


class Looking:
    """Encodes windows; notes which."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.encoded: list[tuple[int, ...]] = []

    def __call__(self, images: Any) -> Any:
        self.encoded += [image.shape for image in images]
        return self.predictor.dialogue.encode(images)


def test_close_ups_are_kept_within_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    look = Looking(small_predictor())
    looks = CloserLooks(PICTURE, look, keeps_all=False)
    windows = [(slice(0, 24 + number), slice(0, 30)) for number in range(4)]
    of_one = looks.close_up(windows[0]).batch.encoded.nbytes
    assert of_one + 24 * 30 * 3 == looks.nbytes < CLOSE_UP_BYTES
    with_cells = max(looks.close_up(window).cells.nbytes_made for window in windows)
    looks, look.encoded = CloserLooks(PICTURE, look, keeps_all=False), []
    looks.close_up(windows[0])
    bound = 2 * (of_one + 27 * 30 * 3 + with_cells)
    monkeypatch.setattr("xsam_backend.model.closer_looks.CLOSE_UP_BYTES", bound)
    for number in (1, 0, 2, 0, 2):  # 1 has to go when 2 comes: 0 was asked for since
        looks.close_up(windows[number])
    assert [shape[0] for shape in look.encoded] == [24, 25, 26]
    for number in (0, 2):
        looks.close_up(windows[number]).cells.get()
    assert 2 * of_one < looks.nbytes <= bound, "also with what further clicks need"
    monkeypatch.setattr("xsam_backend.model.closer_looks.CLOSE_UP_BYTES", 0)
    looks.close_up(windows[3])
    assert looks.nbytes == 0, "too large for the bound: nothing is kept"


def test_the_second_click_on_a_small_object_encodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = small_predictor(close_up_share=0.9)
    state = predictor.encode(PICTURE)
    before = state.nbytes
    look = Looking(predictor)
    monkeypatch.setattr(state.looks, "_encode", look)
    first = predictor.answer(state, Prompt(Task.INTERACTIVE, (Box(20, 15, 9, 8),)))
    assert look.encoded
    seen = list(look.encoded)
    again = predictor.answer(state, Prompt(Task.INTERACTIVE, (Box(20, 15, 9, 8),)))
    assert look.encoded == seen
    assert np.array_equal(first.instances.masks, again.instances.masks)
    assert state.nbytes > before, "it counts what it keeps"
