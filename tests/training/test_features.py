"""What frozen encoders make of a view is computed once, and is the same after a kill, on a damaged or full disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import small_config, small_model, tokenizer
from trainings import WHOLE, Square, training

from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Task
from xsam_backend.training import features
from xsam_backend.training.batch import AskedPicture, batch_losses
from xsam_backend.training.features import FEATURES, KeptFeatures
from xsam_backend.training.loop import train
from xsam_backend.training.losses import RandomPoints
from xsam_backend.training.sources import Part, QuestionSet, told_words

VIEWS = 3
HEADS = tuple(part for part in WHOLE if part != "segmentor_encoder")
FROZEN: Mapping[str, Any] = {"trains": HEADS, "grounding": False, "steps": 6, "pictures": 2}


def stream(views: int = VIEWS) -> QuestionSet:
    part = Part(Square(), 1.0, {Task.INTERACTIVE: 1}, "squares", views)
    return QuestionSet([part], small_config(), tokenizer(), 0, 10, told_words([Square()]))


def one_view() -> AskedPicture:
    return stream(1)[0]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each pass of the segmentor's encoder has seen, from now on."""
    counts: list[int] = []
    forward = type(small_model().segmentor_encoder).forward

    def counting(self: Any, pixels: torch.Tensor) -> Any:
        counts.append(len(pixels))
        return forward(self, pixels)

    monkeypatch.setattr(type(small_model().segmentor_encoder), "forward", counting)
    return counts


def losses(model: XSam, pictures: list[AskedPicture], kept: KeptFeatures | None) -> dict[str, torch.Tensor]:
    points = RandomPoints(torch.device("cpu"), torch.Generator().manual_seed(0))
    return batch_losses(model, pictures, points, kept=kept)


def test_a_view_is_the_same_picture_asked_anew() -> None:
    seen: dict[str, list[AskedPicture]] = {}
    pictures = stream()
    for index in range(12):
        asked = pictures[index]
        seen.setdefault(asked.view, []).append(asked)
    assert sorted(seen) == [f"squares-0-{number}" for number in range(VIEWS)]
    for first, *others in seen.values():
        assert all(torch.equal(first.segmentor_pixels, other.segmentor_pixels) for other in others)
    hints = [asked.points[0].numpy() for asked in seen["squares-0-0"]]
    assert any(not np.array_equal(hints[0], other) for other in hints[1:])


def test_without_views_none_has_a_name() -> None:
    assert {stream(0)[index].view for index in range(3)} == {""}


def test_features_are_those_of_encoding_anew(tmp_path: Path, encoded: list[int]) -> None:
    model, pictures = small_model(), [one_view(), stream(0)[1]]
    with torch.no_grad():
        maps = model.segmentor_encoder(torch.stack([picture.segmentor_pixels for picture in pictures]))
        seen = model.vision_tokens(torch.stack([picture.vision_pixels for picture in pictures]))
    encoded.clear()
    kept = KeptFeatures(tmp_path, 2**30)
    for _ in range(2):
        pairs = zip(kept.of(model, pictures).tensors, (seen, maps.tokens, *maps.pyramid), strict=True)
        for ours, expected in pairs:
            torch.testing.assert_close(ours, expected, rtol=2e-3, atol=2e-3)
    assert encoded == [2, 1], "the second time, the nameless one alone"


def test_losses_are_the_same_the_second_time(tmp_path: Path) -> None:
    model, pictures = small_model(), [one_view(), stream(0)[1]]
    kept = KeptFeatures(tmp_path, 2**30)
    first, again = losses(model, pictures, kept), losses(model, pictures, kept)
    assert set(first) == set(losses(model, pictures, None))
    for name, loss in first.items():
        assert loss.item() == pytest.approx(again[name].item(), rel=1e-4, abs=1e-5), name


def test_what_is_kept_has_its_bounds(tmp_path: Path, encoded: list[int]) -> None:
    model = small_model()
    KeptFeatures(tmp_path, 2**30).of(model, [one_view()])
    (file,) = (tmp_path / FEATURES).iterdir()
    size = file.stat().st_size
    both = [picture for picture in map(stream(2).__getitem__, range(12)) if picture.view == "squares-0-1"][:1]
    for most, encodings in ((size, 2), (2 * size, 1)):
        encoded.clear()
        kept = KeptFeatures(tmp_path, most)
        kept.of(model, both)
        kept.of(model, both)
        assert len(encoded) == encodings


def test_a_damaged_file_is_computed_again(tmp_path: Path, encoded: list[int]) -> None:
    model = small_model()
    expected = KeptFeatures(tmp_path, 2**30).of(model, [one_view()])
    (file,) = (tmp_path / FEATURES).iterdir()
    file.write_bytes(file.read_bytes()[:100])
    found = KeptFeatures(tmp_path, 2**30).of(model, [one_view()])
    assert torch.equal(found.maps.tokens, expected.maps.tokens)
    assert len(encoded) == 2


def test_a_full_disk_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features, "write_whole", full)
    found = KeptFeatures(tmp_path, 2**30).of(small_model(), [one_view()])
    assert len(found.maps.tokens) == 1
    assert "no more features are kept ([Errno 28] No space left on device)" in caplog.text


def test_numbers_too_large_for_half_precision_stay_as_they_are(tmp_path: Path) -> None:
    model = small_model()
    hook = model.segmentor_encoder.register_forward_hook(
        lambda _module, _args, maps: type(maps)(maps.tokens * 1e9, maps.pyramid)
    )
    found, again = (KeptFeatures(tmp_path, 2**30).of(model, [one_view()]) for _ in range(2))
    hook.remove()
    assert found.maps.tokens.abs().max() > 1e6
    assert torch.equal(again.maps.tokens, found.maps.tokens)


def data(views: int) -> list[Mapping[str, Any]]:
    return [{"name": "squares", "kind": "scenes", "share": 1.0, "views": views, "questions": {"interactive": 1.0}}]


def test_a_training_encodes_each_view_once(tmp_path: Path, encoded: list[int]) -> None:
    config = training(tmp_path, FROZEN, data=data(VIEWS), features_mb=100)
    train(small_model(), config, [stream()])
    assert sum(encoded) == len(list((tmp_path / FEATURES).iterdir())) <= VIEWS


def test_encoders_that_are_trained_are_never_kept(tmp_path: Path) -> None:
    config = training(tmp_path, {**FROZEN, "trains": WHOLE}, data=data(VIEWS), features_mb=100)
    train(small_model(), config, [stream()])
    assert not (tmp_path / FEATURES).exists()


def test_a_run_that_goes_on_has_the_same_features(tmp_path: Path) -> None:
    """Those that were computed before a kill are read after it, rounded; so they are rounded from the first."""
    config = training(tmp_path / "whole", FROZEN, data=data(VIEWS), features_mb=100)
    whole = train(small_model(), config, [stream()])
    killed = training(tmp_path / "killed", {**FROZEN, "steps": 6}, data=data(VIEWS), features_mb=100)

    def kill(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_model(), killed, [stream()], on_step=kill)
    resumed = train(small_model(), killed, [stream()])
    for (name, one), (_, other) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=name)
