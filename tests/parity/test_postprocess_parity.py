"""Results of every task from the recorded logits of that pass."""

import numpy as np
import pytest
import torch
from recordings import Recording, assert_close, config, each_recording, each_result

from xsam_backend.model import postprocess
from xsam_backend.model.image_processor import frame_masks
from xsam_backend.model.postprocess import Detections, PictureFrame

SCORES = 1e-4
LABEL_MAP = 0.001
VOID = 255
PREDICTED_STUFF = (1, 2, 3)  # the generated case does not say; its categories are those of genseg_image1


def frame_of(recording: Recording, sample: int) -> PictureFrame:
    height, width = config()["preprocessing"]["sam"]["pad_to"]
    return PictureFrame((height, width), recording.scaled_hw(sample), recording.size_hw(sample))


def logits(recording: Recording, sample: int) -> tuple[torch.Tensor, torch.Tensor, PictureFrame]:
    tensors = recording.tensors
    return (
        tensors["class_queries_logits"][sample],
        tensors["masks_queries_logits_lowres"][sample],
        frame_of(recording, sample),
    )


def assert_same_labels(ours: torch.Tensor, recorded: torch.Tensor) -> None:
    assert ours.shape == recorded.shape
    differing = (ours != recorded).float().mean().item()
    assert differing <= LABEL_MAP, f"{differing:.2%} of the pixels differ"


def matched(ours: Detections, recording: Recording, variant: str, sample: int) -> Detections:
    """Ours in the recorded order: instances are a set, each is found by class, score and mask."""
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


@each_recording(lambda recording: "masks_queries_logits" in recording.tensors)
def test_upscaling_to_the_padded_frame_is_plain_bilinear(recording: Recording) -> None:
    frame = PictureFrame((128, 128), (128, 128), (128, 128))
    ours = postprocess.upscale(recording.tensors["masks_queries_logits_lowres"][0], frame)
    assert_close(ours, recording.tensors["masks_queries_logits"][0], 1e-5)


@each_result(lambda recording, variant: variant.startswith("panoptic"))
def test_panoptic(recording: Recording, variant: str, settings: dict, sample: int) -> None:
    result = postprocess.panoptic(
        *logits(recording, sample),
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


@each_result(lambda recording, variant: variant == "semantic")
def test_semantic(recording: Recording, variant: str, settings: dict, sample: int) -> None:
    ours = postprocess.semantic(*logits(recording, sample))
    assert_same_labels(ours, recording.result(variant, "segmentation", sample))


@each_result(lambda recording, variant: variant.startswith(("instance", "vgdseg")))
def test_instances(recording: Recording, variant: str, settings: dict, sample: int) -> None:
    found = postprocess.instances(*logits(recording, sample), threshold=settings["threshold"])
    assert (found.scores.diff() <= 0).all(), "best first"
    ours = matched(found, recording, variant, sample)
    assert_close(
        postprocess.boxes_xyxy(ours.masks), recording.result(variant, "instances.pred_boxes", sample), 0, "boxes"
    )
    painted = torch.full(recording.size_hw(sample), VOID if recording.task == "vgdseg" else -1, dtype=torch.int32)
    for index, mask in enumerate(ours.masks):
        painted[mask] = index
    assert_same_labels(painted, recording.result(variant, "segmentation", sample))


@each_result(lambda recording, variant: variant in ("refseg", "reaseg"))
def test_referring_and_reasoning(recording: Recording, variant: str, settings: dict, sample: int) -> None:
    found = postprocess.phrase_masks(*logits(recording, sample))
    assert len(found) == 1
    assert found.scores.item() == pytest.approx(recording.result_info(variant, sample)["score"], abs=SCORES)
    painted = torch.where(found.masks[0], 1, VOID)
    assert_same_labels(painted, recording.result(variant, "segmentation", sample))


@each_result(lambda recording, variant: variant == "gcgseg")
def test_grounded_caption(recording: Recording, variant: str, settings: dict, sample: int) -> None:
    found = postprocess.phrase_masks(*logits(recording, sample))
    recorded = recording.result_info(variant, sample)
    assert found.scores.tolist() == pytest.approx([segment["score"] for segment in recorded], abs=SCORES)
    painted = torch.full(recording.size_hw(sample), VOID, dtype=torch.int32)
    for index, mask in enumerate(found.masks):
        painted[mask] = index + 1
    assert_same_labels(painted, recording.result(variant, "segmentation", sample))


@each_result(lambda recording, variant: variant == "intseg")
def test_interactive(recording: Recording, variant: str, settings: dict, sample: int) -> None:
    region = frame_masks(recording.regions(sample), 128)[0]
    found = postprocess.interactive(*logits(recording, sample), region)
    assert len(found) == 1
    assert_same_labels(torch.where(found.masks[0], 1, VOID), recording.result(variant, "segmentation", sample))


@each_result(lambda recording, variant: variant in ("intseg", "vgdseg"))
def test_region_masks_come_back_to_the_picture(
    recording: Recording, variant: str, settings: dict, sample: int
) -> None:
    framed = frame_masks(recording.regions(sample), 128)
    ours = postprocess.unframe_masks(framed, frame_of(recording, sample))
    assert np.array_equal(ours, recording.result(variant, "vprompt_masks", sample).bool())
