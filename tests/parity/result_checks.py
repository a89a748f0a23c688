"""Recorded results of each task against ours, made from whatever logits are handed in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recordings import Recording, assert_close, config
from torch import Tensor

from xsam_backend.model import postprocess
from xsam_backend.model.image_processor import frame_masks
from xsam_backend.model.mask_boxes import boxes_xyxy
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.postprocess import Detections

SCORES = 1e-4
LABEL_MAP = 0.001
VOID = 255
PREDICTED_STUFF = (1, 2, 3)  # the generated case does not say; its categories are those of genseg_image1


def frame_of(recording: Recording, sample: int) -> PictureFrame:
    height, width = config()["preprocessing"]["sam"]["pad_to"]
    return PictureFrame((height, width), recording.scaled_hw(sample), recording.size_hw(sample))


def assert_result(
    recording: Recording,
    variant: str,
    settings: dict[str, Any],
    sample: int,
    class_logits: Tensor,
    mask_logits: Tensor,
) -> None:
    """One recorded result, from one sample's class logits (Q, C + 1) and mask logits (Q, h, w)."""
    logits = (class_logits, mask_logits, frame_of(recording, sample))
    if variant.startswith("panoptic"):
        _assert_panoptic(recording, variant, settings, sample, logits)
    elif variant == "semantic":
        assert_same_labels(postprocess.semantic(*logits), recording.result(variant, "segmentation", sample))
    elif variant.startswith(("instance", "vgdseg")):
        _assert_instances(recording, variant, settings, sample, logits)
    elif variant in ("refseg", "reaseg"):
        found = postprocess.phrase_masks(*logits)
        assert len(found) == 1
        assert found.scores.item() == pytest.approx(recording.result_info(variant, sample)["score"], abs=SCORES)
        assert_same_labels(torch.where(found.masks[0], 1, VOID), recording.result(variant, "segmentation", sample))
    elif variant == "gcgseg":
        found = postprocess.phrase_masks(*logits)
        recorded = [segment["score"] for segment in recording.result_info(variant, sample)]
        assert found.scores.tolist() == pytest.approx(recorded, abs=SCORES)
        assert_same_labels(painted(found.masks, VOID, first=1), recording.result(variant, "segmentation", sample))
    else:
        assert variant == "intseg", f"a result that no check is written for: {variant}"
        found = postprocess.interactive(*logits, frame_masks(recording.regions(sample), 128)[0])
        assert len(found) == 1
        assert_same_labels(torch.where(found.masks[0], 1, VOID), recording.result(variant, "segmentation", sample))


def painted(masks: Tensor, void: int, first: int = 0) -> Tensor:
    """int32 (H, W): later masks over earlier ones."""
    labels = torch.full(masks.shape[1:], void, dtype=torch.int32)
    for index, mask in enumerate(masks):
        labels[mask] = index + first
    return labels


def assert_same_labels(ours: Tensor, recorded: Tensor) -> None:
    assert ours.shape == recorded.shape
    differing = (ours != recorded).float().mean().item()
    assert differing <= LABEL_MAP, f"{differing:.2%} of the pixels differ"


def _assert_panoptic(
    recording: Recording,
    variant: str,
    settings: dict[str, Any],
    sample: int,
    logits: tuple[Tensor, Tensor, PictureFrame],
) -> None:
    result = postprocess.panoptic(
        *logits,
        stuff=recording.facts.get("stuff_class_indices", PREDICTED_STUFF),
        threshold=settings["threshold"],
        overlap=settings.get("overlap_mask_area_threshold", 0.8),
    )
    recorded = recording.result_info(variant, sample)
    assert [(s.id, s.class_index, s.is_thing) for s in result.segments] == [
        (s["id"], s["category_id"], s["isthing"]) for s in recorded
    ]
    assert [s.score for s in result.segments] == pytest.approx([s["score"] for s in recorded], abs=SCORES)
    assert_same_labels(result.segmentation, recording.result(variant, "segmentation", sample))


def _assert_instances(
    recording: Recording,
    variant: str,
    settings: dict[str, Any],
    sample: int,
    logits: tuple[Tensor, Tensor, PictureFrame],
) -> None:
    found = postprocess.instances(*logits, threshold=settings["threshold"])
    assert (found.scores.diff() <= 0).all(), "best first"
    ours = _in_recorded_order(found, recording, variant, sample)
    assert_close(boxes_xyxy(ours.masks), recording.result(variant, "instances.pred_boxes", sample), 0, "boxes")
    void = VOID if recording.task == "vgdseg" else -1
    labels = painted(ours.masks, void) if len(ours) else torch.full(recording.size_hw(sample), void)
    assert_same_labels(labels, recording.result(variant, "segmentation", sample))


def _in_recorded_order(ours: Detections, recording: Recording, variant: str, sample: int) -> Detections:
    """Instances are a set: each recorded one is found by class, score and mask."""
    classes = recording.result(variant, "instances.pred_classes", sample)
    scores = recording.result(variant, "instances.scores", sample)
    masks = recording.result(variant, "instances.pred_masks", sample).bool()
    assert len(ours) == len(classes)
    order: list[int] = []
    for index in range(len(classes)):
        same = (ours.class_indices == classes[index]) & ((ours.scores - scores[index]).abs() <= SCORES)
        differing = (ours.masks != masks[index]).flatten(1).float().mean(1)
        left = [i for i in (same & (differing <= LABEL_MAP)).nonzero().flatten().tolist() if i not in order]
        assert left, (
            f"recorded instance {index} (class {classes[index]}, score {scores[index]:.4f}) is not among ours"
        )
        order.append(left[0])
    return ours[torch.tensor(order, dtype=torch.int64)]
