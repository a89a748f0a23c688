"""The model stage by stage, from pixels to masks, against every recorded case. What comes out of one stage of ours
goes into the next, so an error anywhere shows from there on."""

from typing import Any

import pytest
import torch
from recordings import (
    Recording,
    assert_close,
    case_names,
    each_recording,
    each_result,
    feature_names,
    features,
    tokens,
)
from reference_model import (
    ID_ROWS,
    id_rows,
    reference_config,
    reference_model,
    reference_pass,
    regions,
    samples_of,
    split_at_image,
)
from result_checks import assert_result

from xsam_backend.model.connector import token_sequence
from xsam_backend.model.image_processor import ImageProcessorConfig, frame_regions, process_image
from xsam_backend.model.regions import region_points
from xsam_backend.model.xsam import pool_by_id

HIDDEN = 1e-4


def teacher_forced(recording: Recording) -> bool:
    return not recording.is_generated


@pytest.mark.parametrize("name", feature_names())
@torch.no_grad()
def test_stages_that_depend_on_the_picture_only(name: str) -> None:
    recorded, model = features(name), reference_model()
    seen = model.vision_encoder(recorded["siglip_pixel_values"])
    assert_close(seen, recorded["vision_hidden_m2"], HIDDEN, "vision hidden state")
    assert_close(model.visual_projector(seen), recorded["visual_projector"], HIDDEN, "visual projector")

    maps = model.segmentor_encoder(recorded["sam_pixel_values"])
    for level, layer in enumerate(reference_config().segmentor_encoder.select_layers):
        ours = maps.pyramid[level].permute(0, 2, 3, 1)
        assert_close(ours, recorded[f"sam_hidden_states.{layer}"], HIDDEN, f"SAM hidden state {layer}")
    assert_close(maps.tokens.permute(0, 2, 3, 1), recorded["sam_hidden_states.3"], HIDDEN, "SAM tokens")
    projected = model.seg_projector(token_sequence(maps.tokens, 0.5))
    assert_close(projected, recorded["seg_projector"], HIDDEN, "segmentation projector")

    pyramid = model.connector(maps.pyramid)
    for level, ours in enumerate(pyramid):
        assert_close(ours, recorded[f"connector.{level}"], HIDDEN, f"connector {level}")
    pixels = model.segmentor.features(pyramid)
    for level, ours in enumerate(pixels.level_features):
        assert_close(ours, recorded[f"multi_scale_features.{level}"], HIDDEN, f"pixel decoder, level {level}")
    assert_close(pixels.mask_features, recorded["mask_features"], HIDDEN, "mask features")


@pytest.mark.parametrize("name", feature_names())
@torch.no_grad()
def test_encode_is_those_stages_together(name: str) -> None:
    recorded = features(name)
    ours = reference_model().encode(recorded["siglip_pixel_values"], recorded["sam_pixel_values"])
    both = torch.cat([recorded["visual_projector"], recorded["seg_projector"]], 1)
    assert_close(ours.tokens, both, HIDDEN, "tokens, vision first")
    as_map = recorded["seg_projector"].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    assert_close(ours.token_map, as_map, HIDDEN, "token map")
    assert_close(ours.pixels.mask_features, recorded["mask_features"], HIDDEN, "mask features")


@each_recording(lambda recording: "sampler.points" in recording.tensors)
@torch.no_grad()
def test_region_embeddings_at_the_recorded_points(recording: Recording) -> None:
    picture = reference_pass(recording).features
    ours = regions(reference_model(), recording, picture)
    assert ours is not None
    assert_close(ours, recording.tensors["sampler.region_feats.0"], HIDDEN)


@each_recording(lambda recording: "sampler.points" in recording.tensors)
def test_recorded_points_and_ours_lie_on_the_same_pixels(recording: Recording) -> None:
    """The reference draws them; for a region with fewer pixels than points it takes every pixel at least once."""
    masks = recording.tensors["sampler.region_masks.0"].bool()
    for mask, theirs, ours in zip(masks, recording.tensors["sampler.points"], region_points(masks, 256), strict=True):
        side = torch.tensor(mask.shape)
        for points in (theirs, ours):
            pixels = (points * side).round().long()
            assert mask[pixels[:, 0], pixels[:, 1]].all()
            assert len(pixels.unique(dim=0)) == min(int(mask.sum()), 256)


@each_recording(teacher_forced)
def test_merged_sequences(recording: Recording) -> None:
    merged = reference_pass(recording).merged
    for sample, ours in enumerate(merged):
        recorded = {name: recording.tensors[f"merged.{name}"][sample] for name in ID_ROWS[1:]}
        assert_close(ours.embeddings, recording.tensors["merged.inputs_embeds"][sample], HIDDEN, "embeddings")
        for name, row in recorded.items():
            assert torch.equal(getattr(ours, name), row), name
        positions = recording.tensors["merged.position_ids"][sample]
        assert torch.equal(torch.arange(len(ours.embeddings)), positions), "positions are those of the merged tokens"


@each_recording(teacher_forced)
@torch.no_grad()
def test_language_states_and_what_is_read_from_them(recording: Recording) -> None:
    ours = reference_pass(recording)
    assert_close(ours.states, recording.tensors["llm.last_hidden_state"], HIDDEN, "last hidden state")
    logits = reference_model().language.logits(ours.states[:, -8:])
    assert_close(logits, recording.tensors["llm.logits_last8"], HIDDEN, "logits")
    assert_close(ours.projected, recording.tensors["llm.projector"], HIDDEN, "projector")


PREFIXES = sorted({(tuple(r.facts["features"])) for r in map(Recording, case_names()) if teacher_forced(r)})


@pytest.mark.parametrize("pictures", PREFIXES, ids="+".join)
@torch.no_grad()
def test_one_prefix_serves_all_questions_in_any_order(pictures: tuple[str, ...]) -> None:
    """Prefix and question together outgrow the window of 64; tests/model/test_language has longer prefixes."""
    model = reference_model()
    cases = [r for r in map(Recording, case_names()) if teacher_forced(r) and tuple(r.facts["features"]) == pictures]
    picture = reference_pass(cases[0]).features
    halves = {}
    for recording in cases:
        regional = regions(model, recording, picture)
        split = [split_at_image(id_rows(recording, sample)) for sample in samples_of(recording)]
        opening = [
            model.merge(*rows, image_tokens=tokens) for (rows, _), tokens in zip(split, picture.tokens, strict=True)
        ]
        halves[recording.name] = opening, [model.merge(*rows, regions=regional) for _, rows in split]
    prefix = model.image_prefix(halves[cases[0].name][0])
    before = [tensor.clone() for tensor in prefix.tensors]

    def check(recording: Recording, states: torch.Tensor) -> None:
        recorded = recording.tensors["llm.last_hidden_state"]
        assert_close(states, recorded[:, recorded.shape[1] - states.shape[1] :], HIDDEN, recording.name)

    owners = torch.arange(len(pictures))
    for recording in [*cases, *reversed(cases)]:
        check(recording, model.text_states(halves[recording.name][1], prefix, owners))
    if len(pictures) == 1:  # all at once, each continuing the one picture
        rests = [halves[recording.name][1][0] for recording in cases]
        together = model.text_states(rests, prefix, torch.zeros(len(rests), dtype=torch.long))
        for recording, rest, states in zip(cases, rests, together, strict=True):
            check(recording, states[None, : len(rest.embeddings)])
    assert prefix.length == halves[cases[0].name][0][0].embeddings.shape[0]
    for was, now in zip(before, prefix.tensors, strict=True):
        assert torch.equal(was, now), "a prefix is never written to"


@each_recording(teacher_forced)
def test_conditions_and_seg_embeddings(recording: Recording) -> None:
    ours = reference_pass(recording)
    for sample in samples_of(recording):
        conditions, valid = pool_by_id(ours.projected[sample : sample + 1], ours.merged[sample].cond_ids[None])
        assert valid.all()
        assert_close(conditions[0], recording.tensors[f"cond_embeds_raw.{sample}"], HIDDEN, "conditions of a sample")
        seg, _ = pool_by_id(ours.projected[sample : sample + 1], ours.merged[sample].seg_ids[None])
        assert_close(seg[0], recording.tensors[f"seg_embeds_raw.{sample}"], HIDDEN, "SEG of a sample")
    recorded = recording.tensors["cond_embeds"]
    shown = torch.ones(recorded.shape[:2], dtype=torch.bool)
    if "embed_masks" in recording.tensors:
        shown = recording.tensors["embed_masks"].bool()
    assert torch.equal(ours.conditions.valid, shown)
    assert_close(ours.conditions.embeddings[shown], recorded[shown], HIDDEN, "conditions, background last")
    assert_close(ours.seg[:, None], recording.tensors["seg_embeds"], HIDDEN, "SEG")


@each_recording(teacher_forced)
def test_decoder_layer_by_layer(recording: Recording) -> None:
    predictions, tensors = reference_pass(recording).predictions, recording.tensors
    for layer, hidden in enumerate(predictions.hidden):
        assert_close(hidden.transpose(0, 1), tensors[f"decoder.hidden.{layer}"], HIDDEN, f"hidden {layer}")
        recorded = tensors[f"decoder.class_logits.{layer}"]
        assert_close(predictions.class_logits[layer], recorded, HIDDEN, f"class logits {layer}")
    masks = [*tensors.numbered("decoder.mask_logits"), tensors["masks_queries_logits_lowres"]]
    assert len(masks) == len(predictions.hidden)
    for layer, recorded in enumerate(masks):
        assert_close(predictions.mask_logits(layer), recorded, HIDDEN, f"mask logits {layer}")
    assert_close(predictions.class_logits[-1], tensors["class_queries_logits"], HIDDEN, "class logits")


@each_result(lambda recording, variant: teacher_forced(recording))
@torch.no_grad()
def test_results_from_the_picture_and_the_words(
    recording: Recording, variant: str, settings: dict[str, Any], sample: int
) -> None:
    """PNG, our pixels, our text and tokens, the question over the picture's prefix, our results. Only the points of
    regions are the recorded ones, because the reference draws them."""
    model = reference_model()
    processor = ImageProcessorConfig.of_model(reference_config(), pad_to_square=recording.pads_to_square)
    processed = process_image(recording.image(sample), processor)
    picture = model.encode(processed.vision_pixels[None], processed.seg_pixels[None])
    conversation = tokens(recording, sample)
    prefix = model.image_prefix([model.merge_tokens(conversation.through_image(), picture.tokens[0])])
    rest = model.merge_tokens(conversation.after_image(), regions=regions(model, recording, picture))
    projected = model.project(model.text_states([rest], prefix))
    conditions = model.with_background(*pool_by_id(projected, rest.cond_ids[None]))
    seg, _ = pool_by_id(projected, rest.seg_ids[None])
    found = model.segmentor(
        picture.pixels, torch.zeros(1, dtype=torch.long), seg[:, 0], conditions.embeddings, conditions.valid
    )
    assert_result(recording, variant, settings, sample, found.class_logits[-1][0], found.mask_logits()[0])


@each_recording(lambda recording: "sampler.region_masks.0" in recording.tensors)
def test_region_prompts_reach_the_padded_frame_as_recorded(recording: Recording) -> None:
    ours = frame_regions(recording.regions(), 128)
    assert torch.equal(ours, recording.tensors["sampler.region_masks.0"].bool())
