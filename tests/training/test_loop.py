"""The training loop: schedule, groups, a kill and what comes after, and that a small model learns."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from small_models import small_config, small_model, tokenizer
from torch import nn

from xsam_backend.errors import CheckpointError
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Task
from xsam_backend.training import loop
from xsam_backend.training.batch import AskedPicture, Stage
from xsam_backend.training.loop import LoopSettings, train
from xsam_backend.training.sources import Part, QuestionSet

QUICK = LoopSettings(steps=4, pictures=1, warmup_steps=2, decay_steps=2, save_every=2, learning_rate=1e-3)


class Square:
    """Always the same picture: a white square on black."""

    names: Sequence[str] = ("square",)

    def draw(self, rng: np.random.Generator) -> GroundTruth:
        mask = np.zeros((64, 64), bool)
        mask[16:48, 8:32] = True
        image = np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, 2)
        return GroundTruth(image, mask[None], ("square",), np.ones(1, bool), np.zeros(1, bool))


class Stream(QuestionSet):
    """Questions about the square; ``killed_at`` a picture's number ends the process, as far as the loop can tell."""

    def __init__(self, length: int, killed_at: int | None = None) -> None:
        parts = [Part(Square(), 1.0, {Task.INTERACTIVE: 1})]
        super().__init__(parts, small_config(), tokenizer(), 0, length, least_px=10)
        self.killed_at = killed_at
        self.asked: list[int] = []

    def __getitem__(self, index: int) -> AskedPicture:
        if index == self.killed_at:
            raise KeyboardInterrupt
        self.asked.append(index)
        return super().__getitem__(index)


def weights(model: XSam) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    """Weights, averages and optimizer: bit for bit those of a run that was not killed."""
    whole = train(small_model(), Stream(4), QUICK, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(small_model(), Stream(4, killed_at=3), QUICK, tmp_path / "killed")
    assert (tmp_path / "killed" / "state.safetensors").is_file()
    rest = Stream(4)
    resumed = train(small_model(seed=5), rest, QUICK, tmp_path / "killed")
    assert rest.asked == [2, 3], "it goes on with the pictures it would have had"
    assert_same(weights(resumed), weights(whole))
    states = [load_file(tmp_path / name / "state.safetensors") for name in ("whole", "killed")]
    assert_same(*states)
    assert any(name.startswith("optimizer.") for name in states[0])
    assert any(not torch.equal(states[0][f"model.{n}"], states[0][f"average.{n}"]) for n in weights(whole))


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    first = weights(train(small_model(), Stream(4), QUICK, tmp_path))
    again = Stream(4)
    assert_same(weights(train(small_model(seed=3), again, QUICK, tmp_path)), first)
    assert again.asked == []


def _train_one_of_two(process: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=process, world_size=2)
    stream = Stream(8)
    model = train(small_model(seed=0), stream, replace(QUICK, pictures=2), folder / "run")
    save_file({**weights(model), "asked": torch.tensor(stream.asked)}, folder / f"{process}.safetensors")
    dist.destroy_process_group()


def test_two_processes_share_the_pictures_and_learn_the_same(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_train_one_of_two, (tmp_path,), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = (load_file(tmp_path / f"{process}.safetensors") for process in range(2))
    assert first.pop("asked").tolist() == [0, 2, 4, 6]
    assert second.pop("asked").tolist() == [1, 3, 5, 7]
    assert_same(first, second)
    assert any(not torch.equal(first[name], tensor) for name, tensor in weights(small_model(seed=0)).items())
    state = load_file(tmp_path / "run" / "state.safetensors")
    assert_same({name: state[f"average.{name}"] for name in first}, first)


def test_pictures_that_two_processes_cannot_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_processes", lambda: 2)
    with pytest.raises(ValueError, match="3 pictures a step can't be shared evenly among 2"):
        train(small_model(), Stream(3), replace(QUICK, pictures=3), tmp_path)


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    train(small_model(), Stream(1), LoopSettings(steps=1, pictures=1), tmp_path)
    with pytest.raises(CheckpointError, match=r"not a state of this model .* use another folder"):
        train(small_model(language="qwen3"), Stream(1), QUICK, tmp_path)


def test_a_save_that_is_cut_off_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(small_model(), Stream(2), LoopSettings(steps=2, pictures=1, save_every=2), tmp_path)
    before = (tmp_path / "state.safetensors").read_bytes()

    def cut_off(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half a file")
        raise OSError("no space left")

    monkeypatch.setattr(loop, "save_file", cut_off)
    with pytest.raises(OSError, match="no space"):
        train(small_model(), Stream(4), QUICK, tmp_path)
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_the_trunk_stays_as_it_is_unless_it_has_a_rate(tmp_path: Path) -> None:
    start = weights(small_model())
    frozen = weights(train(small_model(), Stream(2), LoopSettings(steps=2, pictures=1), tmp_path / "frozen"))
    settings = LoopSettings(steps=2, pictures=1, warmup_steps=1, ema=0.0, trunk_learning_rate=1e-3)
    moved = weights(train(small_model(), Stream(2), settings, tmp_path / "moved"))
    trunk = [name for name in start if name.startswith("segmentor_encoder.trunk.")]
    assert trunk
    assert all(torch.equal(frozen[name], start[name]) for name in trunk)
    assert any(not torch.equal(moved[name], start[name]) for name in trunk)
    assert not torch.equal(frozen["background.weight"], start["background.weight"])


def test_other_parameters_start_the_optimizer_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Unfreezing the trunk in the middle of a run is meant to work."""
    train(small_model(), Stream(2), LoopSettings(steps=2, pictures=1), tmp_path)
    with caplog.at_level(logging.WARNING):
        settings = LoopSettings(steps=3, pictures=1, trunk_learning_rate=1e-4)
        train(small_model(), Stream(3), settings, tmp_path)
    assert "the optimizer starts anew" in caplog.text


@pytest.mark.parametrize(
    ("stage", "learns", "rests"),
    [
        (
            {"word_steps": 3},
            {"seg_projector"},
            {"llm_projector", "connector", "segmentor.", "background", "language.model.model.layers"},
        ),
        (
            {"alignment_steps": 3},
            {"seg_projector", "llm_projector", "language.model.model.layers"},
            {"connector", "segmentor.", "background"},
        ),
    ],
    ids=["words", "alignment"],
)
def test_early_stages_leave_the_rest_alone(
    tmp_path: Path, stage: dict[str, int], learns: set[str], rests: set[str]
) -> None:
    settings = LoopSettings(steps=3, pictures=1, warmup_steps=1, ema=0.0, weight_decay=0.0, **stage)
    before, after = weights(small_model()), weights(train(small_model(), Stream(3), settings, tmp_path))
    changed = [name for name, tensor in before.items() if not torch.equal(after[name], tensor)]
    assert all(any(name.startswith(part) for name in changed) for part in learns)
    assert not [name for name in changed if name.startswith(tuple(rests))]


@pytest.mark.parametrize(
    ("step", "stage"), [(0, Stage.WORDS), (2, Stage.ALIGNMENT), (4, Stage.ALIGNMENT), (5, Stage.ALL)]
)
def test_stages_follow_each_other(step: int, stage: Stage) -> None:
    assert LoopSettings(steps=9, word_steps=2, alignment_steps=3).stage(step) is stage


def test_a_step_with_infinite_gradient_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = loop.batch_losses

    def broken(model: XSam, pictures: Sequence[AskedPicture], *rest: object, **more: bool) -> dict[str, torch.Tensor]:
        return {name: term * float("inf") for name, term in real(model, pictures, *rest, **more).items()}  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "batch_losses", broken)
    start = weights(small_model())
    with caplog.at_level(logging.WARNING):
        after = weights(train(small_model(), Stream(1), LoopSettings(steps=1, pictures=1), tmp_path))
    assert "gradient is not finite" in caplog.text
    assert_same(after, start)


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 0.1),  # warming up
        (4, 0.5),
        (9, 1.0),
        (50, 1.0),
        (80, 1.0),  # decay begins
        (90, 0.02 + 0.98 * 0.5),
        (99, 0.02 + 0.98 * 0.05),
        (100, 0.02),
        (500, 0.02),
    ],
)
def test_learning_rate_of_each_step(step: int, share: float) -> None:
    settings = LoopSettings(steps=100, warmup_steps=10, decay_steps=20)
    assert settings.rate(step) == pytest.approx(share)


def test_only_matrices_decay() -> None:
    model = small_model()
    settings = LoopSettings(steps=1)
    groups = loop._groups(nn.ModuleDict({"model": model}), settings)
    decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}  # type: ignore[attr-defined]
    names = {name: id(p) for name, p in model.named_parameters()}
    assert names["llm_projector.model.0.weight"] in decaying
    for name in (
        "llm_projector.model.0.bias",
        "background.weight",
        "segmentor.logit_scale",
        "segmentor.decoder.queries_features.weight",
        "language.model.model.embed_tokens.weight",
    ):
        assert names[name] not in decaying
    handed_in = {id(p) for group in groups for p in group["params"]}  # type: ignore[attr-defined]
    frozen = {id(p) for p in model.parameters() if not p.requires_grad}
    assert handed_in | frozen == set(names.values())


def test_one_example_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty steps on one picture: the loss falls, and the log says so."""
    monkeypatch.setattr(loop, "LOG_EVERY", 10)
    settings = LoopSettings(
        steps=30, pictures=1, warmup_steps=3, decay_steps=5, save_every=1000, learning_rate=4e-3, ema=0.5
    )
    torch.manual_seed(0)
    train(small_model(), Stream(30), settings, tmp_path)
    first, middle, last = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert [line["step"] for line in (first, middle, last)] == [10, 20, 30]
    assert last["loss_dice"] < first["loss_dice"]
    assert last["loss"] < 0.75 * first["loss"]
