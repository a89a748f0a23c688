"""Results of every task from the recorded logits of that pass."""

from typing import Any

import numpy as np
from recordings import Recording, assert_close, each_recording, each_result
from result_checks import assert_result, frame_of

from xsam_backend.model.image_processor import frame_masks
from xsam_backend.model.picture_frame import PictureFrame, unframe_masks, upscale


@each_recording(lambda recording: "masks_queries_logits" in recording.tensors)
def test_upscaling_to_the_padded_frame_is_plain_bilinear(recording: Recording) -> None:
    frame = PictureFrame((128, 128), (128, 128), (128, 128))
    ours = upscale(recording.tensors["masks_queries_logits_lowres"][0], frame)
    assert_close(ours, recording.tensors["masks_queries_logits"][0], 1e-5)


@each_result(lambda recording, variant: True)
def test_results_from_recorded_logits(
    recording: Recording, variant: str, settings: dict[str, Any], sample: int
) -> None:
    class_logits = recording.tensors["class_queries_logits"][sample]
    mask_logits = recording.tensors["masks_queries_logits_lowres"][sample]
    assert_result(recording, variant, settings, sample, class_logits, mask_logits)


@each_result(lambda recording, variant: variant in ("intseg", "vgdseg"))
def test_region_masks_come_back_to_the_picture(
    recording: Recording, variant: str, settings: dict[str, Any], sample: int
) -> None:
    framed = frame_masks(recording.regions(sample), 128)
    ours = unframe_masks(framed, frame_of(recording, sample))
    assert np.array_equal(ours, recording.result(variant, "vprompt_masks", sample).bool())
