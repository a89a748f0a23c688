"""Pixels and masks as the encoders get them, against the recorded ones."""

import numpy as np
import pytest
import torch
from recordings import Recording, assert_close, config, each_recording, feature_names, features, object_mask, picture

from xsam_backend.model.image_processor import ImageProcessorConfig, ProcessedImage, frame_masks, process_image

PIXELS = 1e-5
SIDE = 128


def processed(image: np.ndarray, *, square: bool) -> ProcessedImage:
    facts = config()["preprocessing"]
    return process_image(
        image,
        ImageProcessorConfig(
            vision_size=facts["siglip"]["size"][0],
            vision_mean=tuple(facts["siglip"]["mean"]),
            vision_std=tuple(facts["siglip"]["std"]),
            vision_pad_to_square=square,
            vision_pad_value=facts["siglip"]["square_pad_value"],
            seg_size=facts["sam"]["longest_edge"],
            seg_mean=tuple(facts["sam"]["mean"]),
            seg_std=tuple(facts["sam"]["std"]),
        ),
    )


@pytest.mark.parametrize("name", feature_names())
def test_pixels_of_both_encoders(name: str) -> None:
    stem, _, padding = name.partition("_")
    ours = processed(picture(f"{stem}.png"), square=padding == "square")
    assert_close(ours.vision_pixels[None], features(name)["siglip_pixel_values"], PIXELS, "vision pixels")
    assert_close(ours.seg_pixels[None], features(name)["sam_pixel_values"], PIXELS, "segmentation pixels")


@each_recording()
def test_scaled_size_of_each_sample(recording: Recording) -> None:
    for sample in range(len(recording.samples)):
        ours = processed(recording.image(sample), square=True)
        assert ours.size_hw == recording.size_hw(sample)
        assert ours.scaled_hw == recording.scaled_hw(sample)


@each_recording(train=True)
def test_training_stretches_the_picture(recording: Recording) -> None:
    for sample in range(len(recording.samples)):
        ours = processed(recording.image(sample), square=recording.pads_to_square)
        assert_close(ours.vision_pixels, recording.tensors["siglip_pixel_values"][sample], PIXELS)
        assert_close(ours.seg_pixels, recording.tensors["sam_pixel_values"][sample], PIXELS)


@each_recording(lambda recording: "sampler.region_masks.0" in recording.tensors)
def test_region_masks_in_the_padded_frame(recording: Recording) -> None:
    ours = frame_masks(recording.regions(), SIDE)
    assert torch.equal(ours, recording.tensors["sampler.region_masks.0"].bool())


@pytest.mark.parametrize(
    ("name", "images"),
    [("train_genseg_batch2", ("image1", "image2")), ("train_refseg_two_phrases_image1", ("image1",))],
)
def test_target_masks_in_the_padded_frame(name: str, images: tuple[str, ...]) -> None:
    """Each recorded target is one of the pictures' object masks; which one is the recording's business."""
    objects = {
        "image1": ("ball", "box", "sky"),
        "image2": ("disk", "road", "tri"),
    }
    known = torch.cat(
        [
            frame_masks(np.stack([object_mask(f"{image}_mask_{shape}.png") for shape in objects[image]]), SIDE)
            for image in images
        ]
    )
    for target in Recording(name).tensors["mask_labels"].bool():
        assert (known == target).flatten(1).all(1).any()
