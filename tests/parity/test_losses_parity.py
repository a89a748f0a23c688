"""Training losses, assignments, sampled points and gradients against the recorded training cases."""

from typing import Any

import pytest
import torch
from recordings import Recording, assert_close, each_recording, tokens
from reference_model import PHRASE_TASKS, Pass, fresh_model, reference_config, reference_pass, run
from torch import Tensor

from xsam_backend.model.conversation import IGNORE_LABEL
from xsam_backend.model.weight_map import our_name
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Task
from xsam_backend.training.batch import AskedPicture, batch_losses
from xsam_backend.training.losses import Target, choose_points, language_loss, match, segmentation_losses

LOSS = 1e-4
GRADIENT = 1e-3
NO_GRADIENT = 1e-5
"""Below this a recorded norm is rounding: a key's bias, say, can't change a softmax."""

ORDER = ("final", "aux0", "aux1", "aux2")
"""Predictions in the order in which points are drawn for them; aux i is that of layer i, final that of the last."""
LAYER = {"final": 3, "aux0": 0, "aux1": 1, "aux2": 2}


class RecordedPoints:
    """The points that the reference drew, from the prediction ``first`` on."""

    def __init__(self, recording: Recording, first: str = "final") -> None:
        self.tensors = recording.tensors
        self.at = ORDER.index(first) - 1

    def matcher(self, entry: int, picture: int, count: int) -> Tensor:
        self.at += entry == 0
        points: Tensor = self.tensors[f"loss.{ORDER[self.at]}.matcher_points.{entry}"][0]
        assert len(points) == count
        return points

    def candidates(self, masks: int, count: int) -> Tensor:
        return self._points("candidate", masks, count)

    def remainder(self, masks: int, count: int) -> Tensor:
        return self._points("random", masks, count)

    def _points(self, kind: str, masks: int, count: int) -> Tensor:
        points = self.tensors[f"loss.{ORDER[self.at]}.{kind}_points"]
        assert points.shape[:2] == (masks, count)
        return points


def targets(recording: Recording) -> list[Target]:
    """Per decoder entry; the recorded masks are stacked sample by sample, for refseg one per phrase."""
    masks, classes = recording.tensors["mask_labels"].float(), recording.tensors["class_labels"]
    if recording.task in PHRASE_TASKS:
        counts = [1] * len(masks)
    else:
        counts = [len(entry["target"]) for entry in recording.facts["assignment"]["final"]]
    assert sum(counts) == len(masks)
    return [Target(*pair) for pair in zip(masks.split(counts), classes.split(counts), strict=True)]


def losses_of(model: XSam, recording: Recording, ours: Pass) -> dict[str, Tensor]:
    labels = torch.stack([row.labels for row in ours.merged])[:, 1:]
    answered = labels != IGNORE_LABEL
    spoken = language_loss(model.language.logits(ours.states[:, :-1][answered]), labels[answered])
    points = RecordedPoints(recording)
    segmented = segmentation_losses(ours.predictions, targets(recording), reference_config().losses, points)
    return {"loss_llm": spoken, **segmented}


def assert_losses(ours: dict[str, Tensor], recording: Recording) -> None:
    recorded: dict[str, float] = dict(recording.facts["losses"])
    total, segmented = recorded.pop("loss"), recorded.pop("loss_seg")
    assert set(ours) == set(recorded)
    for name, term in ours.items():
        assert float(term.detach()) == pytest.approx(recorded[name], abs=LOSS), name
    values = {name: float(term.detach()) for name, term in ours.items()}
    assert sum(values.values()) == pytest.approx(total, abs=LOSS)
    assert sum(values.values()) - values["loss_llm"] == pytest.approx(segmented, abs=LOSS)


def assert_gradients(model: XSam, recording: Recording) -> None:
    """Every recorded parameter; those without a gradient there have none here, or are not built at all."""
    parameters = dict(model.named_parameters())
    vision_layers = len(model.vision_encoder.model.encoder.layers)
    seen = set()
    for name, norm in recording.facts["grad_norm_per_parameter"].items():
        ours = our_name(name, vision_layers)
        if ours is None:
            assert norm is None, f"{name} is dropped, but has a gradient in the reference"
            continue
        seen.add(ours)
        gradient = parameters[ours].grad
        if norm is None:
            assert gradient is None or not gradient.any(), name
        else:
            assert gradient is not None, f"{name}: no gradient, recorded {norm:.2e}"
            assert float(gradient.norm()) == pytest.approx(norm, rel=GRADIENT, abs=NO_GRADIENT), name
    assert seen == set(parameters)
    full = [name for name in recording.tensors if name.startswith("grad.")]
    assert full
    for name in full:
        recorded = recording.tensors[name]
        ours = our_name(name.removeprefix("grad."), vision_layers)
        assert ours is not None
        gradient = parameters[ours].grad
        assert gradient is not None
        assert float((gradient - recorded).norm()) <= GRADIENT * float(recorded.norm()), name


@each_recording(train=True)
@torch.no_grad()
def test_training_passes_segment_as_recorded(recording: Recording) -> None:
    predictions = reference_pass(recording).predictions
    for layer, recorded in enumerate(recording.tensors.numbered("decoder.mask_logits")):
        assert_close(predictions.mask_logits(layer), recorded, LOSS, f"mask logits {layer}")
        recorded = recording.tensors[f"decoder.class_logits.{layer}"]
        assert_close(predictions.class_logits[layer], recorded, LOSS, f"class logits {layer}")


@pytest.mark.parametrize("prediction", ORDER)
@each_recording(train=True)
def test_assignments(recording: Recording, prediction: str) -> None:
    points = RecordedPoints(recording, first=prediction)
    predictions = reference_pass(recording).predictions
    found = match(predictions, LAYER[prediction], targets(recording), reference_config().losses, points)
    recorded: list[dict[str, Any]] = recording.facts["assignment"][prediction]
    assert [(m.queries.tolist(), m.targets.tolist()) for m in found] == [(r["query"], r["target"]) for r in recorded]
    for entry, ours in enumerate(found):
        assert torch.equal(ours.queries, recording.tensors[f"loss.{prediction}.match_query.{entry}"])
        assert torch.equal(ours.targets, recording.tensors[f"loss.{prediction}.match_target.{entry}"])


@pytest.mark.parametrize("prediction", ORDER)
@each_recording(train=True)
def test_points_chosen_where_the_logits_are_unsure(recording: Recording, prediction: str) -> None:
    points = RecordedPoints(recording, first=prediction)
    points.at += 1
    logits = reference_pass(recording).predictions.mask_logits(LAYER[prediction])
    queries = [torch.tensor(entry["query"]) for entry in recording.facts["assignment"][prediction]]
    matched = torch.cat([maps[chosen] for maps, chosen in zip(logits, queries, strict=True)])[:, None]
    chosen = choose_points(matched, reference_config().losses, points)
    for ours, recorded in zip(chosen, recording.tensors[f"loss.{prediction}.points"], strict=True):
        assert sorted(ours.tolist()) == sorted(recorded.tolist()), "the same points; equally unsure ones may swap"


@each_recording(train=True)
def test_losses_and_gradients(recording: Recording) -> None:
    model = fresh_model().requires_grad_(True)
    ours = losses_of(model, recording, run(model, recording))
    assert_losses(ours, recording)
    torch.stack(list(ours.values())).sum().backward()
    assert_gradients(model, recording)


@each_recording(lambda recording: all(len(s["conversation"]) == 1 for s in recording.samples), train=True)
def test_losses_and_gradients_of_a_training_batch(recording: Recording) -> None:
    """The same numbers the way we train: every picture's tokens read once, the questions continuing them."""
    tensors = recording.tensors
    asked = [
        AskedPicture(
            vision_pixels=tensors["siglip_pixel_values"][sample],
            segmentor_pixels=tensors["sam_pixel_values"][sample],
            conversations=(tokens(recording, sample),),
            tasks=(Task(recording.task),),
            points=(tensors.get("sampler.points", torch.zeros(0, 256, 2)),),
            targets=(target,),
            segment_cells=torch.zeros(0, 1, 1),
            segment_words=torch.zeros(0, 1, dtype=torch.bool),
        )
        for sample, target in enumerate(targets(recording))
    ]
    model = fresh_model().requires_grad_(True)
    ours = batch_losses(model, asked, RecordedPoints(recording))
    assert_losses(ours, recording)
    torch.stack(list(ours.values())).sum().backward()
    assert_gradients(model, recording)
