"""The training loop: stages, schedule, accumulation, a kill and what comes after, and that a small model learns."""

import json
import logging
import math
import resource
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from small_models import small_model
from trainings import QUICK, WHOLE, Square, Stream, training

from xsam_backend.errors import CheckpointError, DatasetError, SettingsError
from xsam_backend.ground_truth import Expression, GroundTruth
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Task
from xsam_backend.training import loop, processes
from xsam_backend.training.batch import AskedPicture, batch_losses
from xsam_backend.training.config import StageConfig
from xsam_backend.training.loop import rate, train

STEADY = {"warmup_steps": 1, "decay_steps": 0, "ema": 0.0, "weight_decay": 0.0}
"""The last weights, at the full rate."""


def weights(model: XSam) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> None:
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def lines(run: Path) -> list[dict[str, Any]]:
    """The log, without what depends on the clock."""
    read = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds_per_picture"} for line in read]


TWO_STAGES: Sequence[Mapping[str, Any]] = (
    {"name": "first", "kind": "alignment", "trains": ("seg_projector", "language"), "steps": 3},
    {"name": "second", "steps": 4, "pictures": 2, "accumulate": 2},
)


@pytest.mark.parametrize(
    ("killed_at", "goes_on_with"),
    [
        pytest.param((0, 2), [[2], [0, 1, 2, 3, 4, 5, 6, 7]], id="in the first stage, just after a state"),
        pytest.param((1, 0), [[], [0, 1, 2, 3, 4, 5, 6, 7]], id="where the stages meet"),
        pytest.param((1, 1), [[], [0, 1, 2, 3, 4, 5, 6, 7]], id="in the middle of an accumulated step"),
        pytest.param((1, 7), [[], [4, 5, 6, 7]], id="in the second stage, three pictures after a state"),
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    tmp_path: Path, killed_at: tuple[int, int], goes_on_with: list[list[int]]
) -> None:
    """Losses, weights, averages and optimizer: bit for bit those of a run that was not killed."""
    options = {"save_every": 2, "log_every": 3}
    whole = train(small_model(), training(tmp_path / "whole", *TWO_STAGES, **options), [Stream(), Stream(seed=1)])
    config = training(tmp_path / "killed", *TWO_STAGES, **options)
    stage, picture = killed_at
    doomed = [Stream(killed_at=picture if stage == number else None, seed=number) for number in range(2)]
    with pytest.raises(KeyboardInterrupt):
        train(small_model(), config, doomed)
    rest = [Stream(), Stream(seed=1)]
    resumed = train(small_model(), config, rest)
    assert [stream.asked for stream in rest] == goes_on_with, "the pictures that it would have had"
    assert_same(weights(resumed), weights(whole))
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")
    states = [load_file(tmp_path / name / "state.safetensors") for name in ("whole", "killed")]
    assert_same(*states)
    assert any(name.startswith("optimizer.") for name in states[0])
    assert any(
        not torch.equal(t, states[0][n.replace("average", "model")]) for n, t in states[0].items() if "aver" in n
    )


STUCK = {"learning_rate": 1e-12, "patience": 3, "steps": 9}


def test_a_stage_that_learns_nothing_more_ends_early(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The next stage has the pictures and the numbers that it would have had, and so has a run that goes on."""
    stages = ({**STUCK, "name": "first"}, {"name": "second", "steps": 2})
    first, second = Stream(), Stream(seed=1)
    told: list[int] = []
    with caplog.at_level(logging.INFO):
        whole = train(
            small_model(),
            training(tmp_path / "whole", *stages),
            [first, second],
            on_step=lambda done, _total: told.append(done),
        )
    assert (first.asked, second.asked) == ([0, 1, 2, 3], [0, 1])
    assert told == [1, 2, 3, 9, 10, 11]
    assert [line["step"] for line in lines(tmp_path / "whole")] == [1, 2, 3, 4, 10, 11]
    assert "stage 'first' ends after step 4" in caplog.text
    config = training(tmp_path / "killed", *stages)
    with pytest.raises(KeyboardInterrupt):
        train(small_model(), config, [Stream(killed_at=3), Stream(seed=1)])
    rest = [Stream(), Stream(seed=1)]
    resumed = train(small_model(), config, rest)
    assert [stream.asked for stream in rest] == [[2, 3], [0, 1]]
    assert_same(weights(resumed), weights(whole))
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")


def test_without_patience_a_stage_takes_all_its_steps(tmp_path: Path) -> None:
    stream = Stream()
    train(small_model(), training(tmp_path, {**STUCK, "patience": 0}), [stream])
    assert len(stream.asked) == STUCK["steps"]


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    first = weights(train(small_model(), training(tmp_path), [Stream()]))
    again = Stream()
    assert_same(weights(train(small_model(), training(tmp_path), [again])), first)
    assert again.asked == []


def test_a_stage_may_be_made_longer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its optimizer goes on; what it does now differs from before, and that is said."""
    train(small_model(), training(tmp_path, {"steps": 2}), [Stream()])
    more = Stream()
    with caplog.at_level(logging.WARNING):
        train(small_model(), training(tmp_path, {"steps": 4}), [more])
    assert more.asked == [2, 3]
    assert "goes on with other settings than before: stages.0.steps: 2 -> 4" in caplog.text
    assert "anew" not in caplog.text


def test_a_stage_starts_from_the_averaged_weights_of_the_one_before(tmp_path: Path) -> None:
    """As it would from a model folder that the first had been exported to."""
    first, second = {"name": "first", "ema": 0.5}, {"name": "second", "seed": 1, "grounding": False}
    both = train(small_model(), training(tmp_path / "both", first, second), [Stream(), Stream(seed=1)])
    halfway = train(small_model(), training(tmp_path / "first", first), [Stream()])
    halfway = train(halfway, training(tmp_path / "second", second), [Stream(seed=1)])
    assert_same(weights(both), weights(halfway))


def _train_one_of_two(process: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=process, world_size=2)
    stream = Stream()
    # The second process starts with other weights: it must get the first one's.
    model = train(small_model(seed=process), training(folder / "run", {"pictures": 4, "accumulate": 2}), [stream])
    save_file({**weights(model), "asked": torch.tensor(stream.asked)}, folder / f"{process}.safetensors")
    dist.destroy_process_group()


def test_two_processes_share_the_pictures_and_learn_the_same(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_train_one_of_two, (tmp_path,), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = (load_file(tmp_path / f"{process}.safetensors") for process in range(2))
    assert first.pop("asked").tolist() == list(range(0, 16, 2))
    assert second.pop("asked").tolist() == list(range(1, 16, 2))
    assert_same(first, second)
    assert any(not torch.equal(first[name], tensor) for name, tensor in weights(small_model(seed=0)).items())
    state = load_file(tmp_path / "run" / "state.safetensors")
    averages = {name.removeprefix("average."): t for name, t in state.items() if name.startswith("average.")}
    assert averages
    assert_same(averages, {name: first[name] for name in averages})


def _go_on_as_one_of_two(process: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=process, world_size=2)
    stage = {"pictures": 4, "accumulate": 2, "warmup_steps": 1, "decay_steps": 0}
    train(small_model(), training(folder / "whole", {**stage, "steps": 4}), [Stream()])
    train(small_model(), training(folder / "parts", {**stage, "steps": 2}), [Stream()])
    train(small_model(), training(folder / "parts", {**stage, "steps": 4}, workers=1), [Stream()])
    dist.destroy_process_group()


def test_two_processes_go_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    """With accumulated passes, and with a process that prepares pictures from there on."""
    torch.multiprocessing.spawn(_go_on_as_one_of_two, (tmp_path,), nprocs=2)  # type: ignore[no-untyped-call]
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert_same(*(load_file(tmp_path / name / "state.safetensors") for name in ("parts", "whole")))


@pytest.mark.parametrize(
    ("stage", "count", "words"),
    [
        ({"pictures": 3}, 2, r"3 pictures a step can't be shared evenly among 2 passes \(2 processes"),
        ({"pictures": 6, "accumulate": 3}, 4, "6 pictures a step can't be shared evenly among 12 passes"),
        ({"precision": "fp16"}, 1, "fp16 is for GPUs, this is cpu: take bf16 or float32"),
        (
            {"trains": ("segmentor_encoder", "vision_encoder"), "kind": "mixed", "new_language": False},
            1,
            None,  # the two layers over tiny's trunk are trained at the full rate
        ),
        ({"trains": ("vision_encoder",)}, 1, "stage 'all' trains nothing: of vision_encoder, this model has no"),
    ],
)
def test_stages_that_cannot_be_trained_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Mapping[str, Any], count: int, words: str | None
) -> None:
    """Also a later one: not after hours in the first."""
    config = training(tmp_path, {"name": "fine", "steps": 1, "pictures": 12}, {**stage, "steps": 1})
    if words is None:
        train(small_model(), config, [Stream(), Stream()])
        return
    monkeypatch.setattr(processes, "count", lambda: count)
    untouched = [Stream(), Stream()]
    with pytest.raises(SettingsError, match=words):
        train(small_model(), config, untouched)
    assert not untouched[0].asked


def test_new_language_knows_one_kind_of_layers(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="new_language knows Phi-3's layers only, got qwen3"):
        train(small_model(language="qwen3"), training(tmp_path, {"new_language": True}), [Stream()])


def test_new_language_begins_anew_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start of its stage, after what the one before has taught; not when the run goes on."""
    begun: list[list[AskedPicture]] = []
    monkeypatch.setattr(loop, "begin_looking", lambda model, names, looks, pictures: begun.append(pictures))
    stages = ({"name": "first", "steps": 1}, {"name": "second", "new_language": True, "steps": 4})
    train(small_model(), training(tmp_path, *stages), [Stream(), Stream()])
    assert [len(pictures) for pictures in begun] == [12]
    train(small_model(), training(tmp_path / "none", stages[0], {**stages[1], "steps": 0}), [Stream(), Stream()])
    assert len(begun) == 1, "a stage without steps leaves the language as it is"
    train(small_model(), training(tmp_path, stages[0], {**stages[1], "steps": 5}), [Stream(), Stream()])
    assert len(begun) == 1


def test_accumulated_passes_have_the_mean_gradient_of_their_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of two passes moves the weights by the mean of the gradients of each."""
    seen: list[torch.Tensor] = []

    def gradients(parameters: Sequence[torch.Tensor], norm: float) -> torch.Tensor:
        seen.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).clone())
        return torch.ones(())

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", gradients)
    monkeypatch.setattr(loop, "RandomPoints", FixedPoints)
    one = {"steps": 1, "trains": ("connector",), "kind": "segmentor", "grounding": False}
    train(small_model(), training(tmp_path / "both", {**one, "pictures": 2, "accumulate": 2}), [Stream()])
    train(small_model(), training(tmp_path / "first", one), [Stream()])
    train(small_model(), training(tmp_path / "second", one), [Later(1)])
    both, first, second = seen
    assert not torch.allclose(first, second)
    torch.testing.assert_close(both, (first + second) / 2)


class Roomless:
    """In the place of ``batch_losses``: a pass of more pictures than ``room`` finds no memory, after its forward."""

    def __init__(self, room: int) -> None:
        self.room, self.passes = room, list[int]()

    def __call__(self, model: XSam, pictures: Sequence[AskedPicture], *given: Any, **named: Any) -> Any:
        terms = batch_losses(model, pictures, *given, **named)
        self.passes.append(len(pictures))
        if len(pictures) > self.room:
            torch.stack(list(terms.values())).sum().backward()  # what is half done must not count
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
        return terms


@pytest.mark.parametrize(
    ("room", "as_if", "passes"),
    [
        pytest.param(2, 2, [4, 2, 2, 2, 2], id="halves"),
        pytest.param(1, 4, [4, 2, 1, 1, 1, 1, 1, 1, 1, 1], id="one by one"),
    ],
)
def test_passes_that_are_too_large_for_the_memory_are_halved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    room: int,
    as_if: int,
    passes: list[int],
) -> None:
    """Weights and losses are bit for bit those of a config that has so many passes from the start."""
    two_steps = {"steps": 2, "pictures": 4}
    planned = train(small_model(), training(tmp_path / "planned", {**two_steps, "accumulate": as_if}), [Stream()])
    roomless = Roomless(room)
    monkeypatch.setattr(loop, "batch_losses", roomless)
    found = train(small_model(), training(tmp_path / "found", two_steps), [Stream()])
    assert roomless.passes == passes, "the second step knows it already"
    assert_same(weights(found), weights(planned))
    assert lines(tmp_path / "found") == lines(tmp_path / "planned")
    assert "out of memory with 4 pictures in a pass" in caplog.text


def test_a_picture_that_is_too_large_alone_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "batch_losses", Roomless(0))
    with pytest.raises(torch.OutOfMemoryError):
        train(small_model(), training(tmp_path / "run", {"steps": 1, "pictures": 3}), [Stream()])


class FixedPoints:
    """Losses look at the same points whatever was drawn before."""

    def __init__(self, device: torch.device) -> None:
        self.generator = torch.Generator()

    def _draw(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.generator.manual_seed(0))

    def matcher(self, entry: int, picture: int, count: int) -> torch.Tensor:
        return self._draw(count, 2)

    def candidates(self, masks: int, count: int) -> torch.Tensor:
        return self._draw(masks, count, 2)

    def remainder(self, masks: int, count: int) -> torch.Tensor:
        return self._draw(masks, count, 2)


class Later(Stream):
    """The same pictures from a later one on."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def __getitem__(self, index: int) -> AskedPicture:
        return super().__getitem__(index + self.first)


@pytest.mark.parametrize(
    ("stage", "learns", "rests"),
    [
        pytest.param(
            {"kind": "words", "trains": ("segmentor_encoder", "seg_projector", "language")},
            {"seg_projector", "segmentor_encoder.layers", "language.model.model.embed"},
            {
                "visual_projector",
                "llm_projector",
                "connector",
                "segmentor.",
                "background",
                "language.model.model.layers",
            },
            id="words",
        ),
        pytest.param(
            {"kind": "words", "trains": ()},
            {"seg_projector", "segmentor_encoder.layers"},
            {"visual_projector", "llm_projector", "connector", "segmentor.", "background", "language"},
            id="words, usual parts",
        ),
        pytest.param(
            {"kind": "segmentor", "trains": (), "grounding": False},
            {"segmentor_encoder.layers", "connector", "segmentor.", "background"},
            {"visual_projector", "seg_projector", "llm_projector", "language"},
            id="segmentor",
        ),
        pytest.param(
            {"kind": "segmentor", "trains": ()},
            {"segmentor_encoder.layers", "connector", "segmentor.", "background"},
            {"visual_projector", "seg_projector", "llm_projector", "language"},
            id="segmentor, with grounding",
        ),
        pytest.param(
            {"kind": "alignment", "trains": (), "grounding": False},
            {"visual_projector", "seg_projector"},
            {"segmentor_encoder", "llm_projector", "language", "connector", "segmentor.", "background"},
            id="alignment",
        ),
        pytest.param(
            {"kind": "mixed", "trains": (), "grounding": False},
            {
                "visual_projector",
                "seg_projector",
                "language.",
                "llm_projector",
                "connector",
                "segmentor.",
                "background",
            },
            {"segmentor_encoder"},
            id="mixed",
        ),
        pytest.param(
            {"kind": "mixed", "trunk_learning_rate": 1e-3},
            {"segmentor_encoder.trunk", "segmentor_encoder.layers", "segmentor."},
            set(),
            id="mixed, with the trunk",
        ),
        pytest.param(
            {"kind": "mixed", "trunk_learning_rate": 0.0},
            {"segmentor_encoder.layers", "segmentor."},
            {"segmentor_encoder.trunk"},
            id="mixed, without the trunk",
        ),
    ],
)
def test_a_stage_trains_its_parts_and_no_others(
    tmp_path: Path, stage: Mapping[str, Any], learns: set[str], rests: set[str]
) -> None:
    config = training(tmp_path, {**STEADY, "steps": 3, **stage})
    asked = Stream(mix={Task.INTERACTIVE: 1, Task.REFERRING: 1})
    before, after = weights(small_model()), weights(train(small_model(), config, [asked]))
    changed = [name for name, tensor in before.items() if not torch.equal(after[name], tensor)]
    assert all(any(name.startswith(part) for name in changed) for part in learns)
    assert not [name for name in changed if name.startswith(tuple(rests))]


def test_a_state_holds_what_was_trained_and_nothing_else(tmp_path: Path) -> None:
    """Of a large model that is trained in part, the rest comes from where it started."""
    stages = ({"name": "first", "kind": "alignment", "trains": (), "grounding": False}, {"name": "second"})
    with pytest.raises(KeyboardInterrupt):
        train(small_model(), training(tmp_path, *stages), [Stream(), Stream(killed_at=0)])
    held = {name.split(".")[1] for name in load_file(tmp_path / "state.safetensors") if name.startswith("model.")}
    assert held == {"visual_projector", "seg_projector"}
    train(small_model(), training(tmp_path, *stages), [Stream(), Stream()])
    held = {name.split(".")[1] for name in load_file(tmp_path / "state.safetensors") if name.startswith("model.")}
    assert held == {"background", *WHOLE}


def test_a_released_shape_trains_its_encoders_at_their_own_rate(tmp_path: Path) -> None:
    model = small_model(encoders="released")
    stage = {"trains": ("vision_encoder", "segmentor_encoder", "connector"), "trunk_learning_rate": 1e-5}
    stream = Stream()
    stream.config = model.config
    stream.processor = type(stream.processor).of_model(model.config, pad_to_square=False)
    before = weights(model)
    after = weights(train(model, training(tmp_path, {**STEADY, "steps": 1, **stage, "grounding": False}), [stream]))
    moved = {name: float((after[name] - tensor).abs().max()) for name, tensor in before.items()}
    assert {n.split(".")[0] for n, by in moved.items() if by} == {"vision_encoder", "segmentor_encoder", "connector"}
    # AdamW's first step is as long as its rate.
    assert max(by for name, by in moved.items() if "encoder" in name) == pytest.approx(1e-5, rel=0.02)
    assert max(by for name, by in moved.items() if "connector" in name) == pytest.approx(1e-3, rel=0.02)


def test_processes_that_prepare_pictures_change_nothing(tmp_path: Path) -> None:
    train(small_model(), training(tmp_path / "none"), [Stream()])
    train(small_model(), training(tmp_path / "two", workers=2), [Stream()])
    assert lines(tmp_path / "two") == lines(tmp_path / "none")


def test_many_questions_need_few_open_files(tmp_path: Path) -> None:
    """Eight pictures with ten questions are nearly 300 tensors; without care, the loader would wait forever."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    config = training(tmp_path, {"steps": 2, "pictures": 8})
    stream = Stream(mix={Task.INTERACTIVE: 10})
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("nothing came"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    signal.alarm(100)
    try:
        counts = [[len(pictures) for pictures in passes] for passes in loop._steps(stream, config.stages[0], 0, 1)]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert counts == [[8], [8]]


class Unanswered(Stream):
    """Its third picture has no answer."""

    def __getitem__(self, index: int) -> AskedPicture:
        if index == 2:
            raise DatasetError("no answer to any question")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_the_data_is_told_whoever_finds_it(tmp_path: Path, workers: int) -> None:
    with pytest.raises(DatasetError, match=r"^no answer to any question$"):
        train(small_model(), training(tmp_path, workers=workers), [Unanswered()])


def test_a_run_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"file can't be made .*: name another folder"):
        train(small_model(), training(tmp_path / "file"), [Stream()])


def test_half_precision_passes_leave_float32_weights(tmp_path: Path) -> None:
    exact = train(small_model(), training(tmp_path / "exact", STEADY), [Stream()])
    model = train(small_model(), training(tmp_path / "half", {**STEADY, "precision": "bf16"}), [Stream()])
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    of_exact, of_half = lines(tmp_path / "exact")[0], lines(tmp_path / "half")[0]
    assert of_half["loss"] != of_exact["loss"]
    assert of_half["loss"] == pytest.approx(of_exact["loss"], rel=0.05)
    assert any(not torch.equal(tensor, weights(exact)[name]) for name, tensor in weights(model).items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_on_a_gpu(tmp_path: Path, precision: str) -> None:
    """All kinds of stage; losses near those of a CPU; killed, it goes on with scaler and all."""
    kinds = ("words", "alignment", "segmentor", "mixed")
    stages = [{"name": kind, "kind": kind, "trains": (), "precision": precision} for kind in kinds]
    on_cpu = [{**stage, "precision": "float32"} for stage in stages]
    train(small_model(), training(tmp_path / "cpu", *on_cpu), [Stream(seed=n) for n in range(4)])
    config = training(tmp_path / "gpu", *stages)
    with pytest.raises(KeyboardInterrupt):
        train(small_model().cuda(), config, [Stream(killed_at=3 if n == 3 else None, seed=n) for n in range(4)])
    train(small_model().cuda(), config, [Stream(seed=n) for n in range(4)])
    for ours, theirs in zip(lines(tmp_path / "gpu"), lines(tmp_path / "cpu"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.05)


def test_a_step_with_infinite_gradient_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = loop.batch_losses

    def broken(model: XSam, pictures: Sequence[AskedPicture], *rest: Any, **more: Any) -> dict[str, torch.Tensor]:
        return {name: term * float("inf") for name, term in real(model, pictures, *rest, **more).items()}

    monkeypatch.setattr(loop, "batch_losses", broken)
    start = weights(small_model())
    with caplog.at_level(logging.WARNING):
        after = weights(train(small_model(), training(tmp_path, {"steps": 1}), [Stream()]))
    assert "gradient is not finite" in caplog.text
    assert_same(after, start)


def broken_at(steps: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Infinite losses in these passes, counted from 0."""
    real, passes = loop.batch_losses, iter(range(100))

    def losses(*given: Any, **more: Any) -> dict[str, torch.Tensor]:
        by = float("inf") if next(passes) in steps else 1.0
        return {name: term * by for name, term in real(*given, **more).items()}

    monkeypatch.setattr(loop, "batch_losses", losses)


SCALED = {**STEADY, "kind": "alignment", "trains": (), "grounding": False, "precision": "fp16", "ema": 0.5}


def test_a_scaled_step_that_is_left_out_moves_no_average(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That happens now and then, as long as the scale is too high: no word about it, no norm in the log."""
    monkeypatch.setattr(loop, "_refuse_unfit", lambda *_: None)  # a CPU can do it, slowly
    once = train(small_model(), training(tmp_path / "once", {**SCALED, "steps": 1}), [Stream()])
    broken_at({1}, monkeypatch)
    with caplog.at_level(logging.WARNING):
        twice = train(small_model(), training(tmp_path / "twice", {**SCALED, "steps": 2}), [Stream()])
    assert_same(weights(twice), weights(once))
    assert any(not torch.equal(tensor, weights(small_model())[name]) for name, tensor in weights(once).items())
    assert not caplog.records
    assert ["norm" in line for line in lines(tmp_path / "twice")] == [True, False]


def test_a_loss_scale_that_falls_and_falls_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop, "_refuse_unfit", lambda *_: None)
    broken_at(set(range(18)), monkeypatch)
    with caplog.at_level(logging.WARNING):
        train(small_model(), training(tmp_path, {**SCALED, "steps": 18}), [Stream()])
    # It begins at 65536 and is halved each time.
    assert [record.args[0] for record in caplog.records] == [16, 17]  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "trains"), [("segmentor", ()), ("mixed", ("connector", "segmentor"))], ids=["not told", "told in vain"]
)
def test_pictures_without_masks_teach_a_segmentor_nothing(tmp_path: Path, kind: str, trains: Sequence[str]) -> None:
    """A stage that trains nothing else may meet pictures with conversation only; the step passes."""
    stage = {"kind": kind, "trains": trains, "grounding": False, "steps": 1}
    config = training(tmp_path, stage, data=[{**SCENES, "questions": {"conversation": 1.0}}])
    stream = Stream()
    stream.parts = [part.__class__(Talk(), 1.0, {Task.CONVERSATION: 1}) for part in stream.parts]
    start = weights(small_model())
    assert_same(weights(train(small_model(), config, [stream])), start)


SCENES = {"name": "scenes", "kind": "scenes", "share": 1.0}


class Talk:
    """A picture about which only a question in words can be asked."""

    names: Sequence[str] = ()

    def draw(self, rng: np.random.Generator) -> GroundTruth:
        phrase, question = Expression("the square", (0,)), Expression("What is it?", (0,), answer="A square.")
        return replace(Square().draw(rng), referring=(phrase,), questions=(question,))


@pytest.mark.parametrize(
    ("decay", "step", "share"),
    [
        ("linear", 0, 0.1),  # warming up
        ("linear", 4, 0.5),
        ("linear", 9, 1.0),
        ("linear", 50, 1.0),
        ("linear", 80, 1.0),  # decay begins
        ("linear", 90, 0.02 + 0.98 * 0.5),
        ("linear", 99, 0.02 + 0.98 * 0.05),
        ("linear", 500, 0.02),
        ("cosine", 4, 0.5),
        ("cosine", 80, 1.0),
        ("cosine", 85, (1 + math.cos(math.pi / 4)) / 2),
        ("cosine", 90, 0.5),
        ("cosine", 100, 0.0),
    ],
)
def test_learning_rate_of_each_step(decay: str, step: int, share: float) -> None:
    stage = StageConfig(**{**QUICK, "steps": 100, "warmup_steps": 10, "decay_steps": 20, "decay": decay})
    assert rate(stage, step) == pytest.approx(share, abs=1e-12)


def test_without_warmup_and_decay_the_rate_is_the_full_one() -> None:
    stage = StageConfig(**{**QUICK, "steps": 3, "warmup_steps": 0, "decay_steps": 0})
    assert [rate(stage, step) for step in range(3)] == [1.0, 1.0, 1.0]


def test_one_example_is_learned(tmp_path: Path) -> None:
    """Thirty steps on one picture: the loss falls, and the log says so."""
    stage = {"steps": 30, "warmup_steps": 3, "decay_steps": 5, "learning_rate": 4e-3, "ema": 0.5}
    train(small_model(), training(tmp_path, stage, save_every=1000, log_every=10), [Stream()])
    first, middle, last = lines(tmp_path)
    assert [line["step"] for line in (first, middle, last)] == [10, 20, 30]
    assert last["loss_dice"] < first["loss_dice"]
    assert last["loss"] < 0.75 * first["loss"]
    assert not [name for name in last if name[-1].isdigit()], "single layers of the decoder aren't shown"
