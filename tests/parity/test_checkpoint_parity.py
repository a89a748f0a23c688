"""Names and shapes of the released checkpoint, both namings, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recordings import ROOT, SHARED, features, manifest, tokenizer, weights, weights_in_main_naming
from reference_model import reference_config, reference_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from xsam_backend.errors import CheckpointError
from xsam_backend.model.checkpoint import expected_shapes
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.released import (
    convert_names,
    convert_state,
    load_released,
    read_released,
    released_layout,
    with_vocabulary_of,
)

State = dict[str, Tensor]


def released_shapes() -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, (shape, _) in manifest().items()}


def newer(name: str) -> str:
    for old, new in json.loads((ROOT / "manifest-released-notes.json").read_text())["main_branch_renames"].items():
        if name.startswith(old.removesuffix("*")):
            return new.removesuffix("*") + name.removeprefix(old.removesuffix("*"))
    return name


def test_full_size_layout_is_the_manifest() -> None:
    """All 1,356 tensors, those included that we drop, on the meta device."""
    recorded = released_shapes()
    assert len(recorded) == 1356
    assert released_layout(XSamConfig.variant("phi3")) == recorded


def test_every_full_size_tensor_of_ours_comes_from_one_of_the_manifest() -> None:
    config, recorded = XSamConfig.variant("phi3"), released_shapes()
    renamed = convert_names(recorded, config)
    filled = {ours: recorded[name] for name, ours in renamed.items() if ours is not None}
    assert filled == expected_shapes(config)
    assert len(filled) == sum(ours is not None for ours in renamed.values()), "no two go to one place"


def test_what_is_dropped_is_what_the_notes_call_unused() -> None:
    renamed = convert_names(released_shapes(), XSamConfig.variant("phi3"))
    unused = (
        "visual_encoder.vision_model.encoder.layers.26.",
        "visual_encoder.vision_model.post_layernorm.",
        "visual_encoder.vision_model.head.",
        "segmentor.encoder.neck.",
        "segmentor.shared_image_embedding.",
    )
    dropped = {name for name, ours in renamed.items() if ours is None}
    assert dropped == {name for name in renamed if name.startswith(unused)}
    assert len(dropped) == 36


def test_the_newer_naming_fits_the_full_size_too() -> None:
    config = XSamConfig.variant("phi3")
    recorded = {newer(name): shape for name, shape in released_shapes().items()}
    assert set(recorded) != set(released_shapes())
    assert sorted(filter(None, convert_names(recorded, config).values())) == sorted(expected_shapes(config))


def test_phi3_variant_has_the_recorded_full_sizes() -> None:
    facts = json.loads((ROOT / "manifest-released-notes.json").read_text())["full_size_configuration"]
    config = XSamConfig.variant("phi3")
    assert {**facts["llm"], "model_type": "phi3"} == config.language
    vision = dict(facts["vision"])
    assert vision.pop("image_size") == config.vision.image_size
    assert vision == config.vision.transformers
    sam = dict(facts["sam"])
    assert sam.pop("image_size") == config.segmentor_encoder.image_size
    assert sam == config.segmentor_encoder.transformers


def main_naming() -> State:
    recorded = SHARED / "weights" / "tiny-main-naming.safetensors"
    return load_file(recorded) if recorded.is_file() else weights_in_main_naming()


@torch.no_grad()
def test_both_namings_load_and_answer_the_same(tmp_path: Path) -> None:
    path = tmp_path / "newer.safetensors"
    save_file(main_naming(), path)
    model = load_released(path, reference_config())
    recorded = features("image1_square")
    pixels = recorded["siglip_pixel_values"], recorded["sam_pixel_values"]
    for ours, theirs in zip(model.encode(*pixels).tensors, reference_model().encode(*pixels).tensors, strict=True):
        assert torch.equal(ours, theirs)
    ids = torch.arange(20)[None]
    states = [m.language.states(m.language.embed(ids)) for m in (model, reference_model())]
    assert torch.equal(*states)
    assert torch.equal(model.segmentor.logit_scale, reference_model().segmentor.logit_scale)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the file in the newer naming is in the full set only")
def test_the_recorded_newer_naming_is_the_two_renames() -> None:
    recorded, renamed = main_naming(), weights_in_main_naming()
    assert set(recorded) == set(renamed)
    assert all(torch.equal(recorded[name], renamed[name]) for name in recorded)


NAMES = {
    "loaded": "llm.model.layers.0.mlp.down_proj.weight",
    "renamed": "segmentor.logit_scale",
    "dropped": "segmentor.encoder.neck.conv1.weight",
    "dropped by its number": "visual_encoder.vision_model.encoder.layers.2.mlp.fc1.bias",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_missing_tensor_is_refused_by_name(name: str) -> None:
    state = {key: tensor for key, tensor in weights().items() if key != name}
    with pytest.raises(CheckpointError, match=rf"missing \(1\): {name}$"):
        convert_state(state, reference_config())


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_misshaped_tensor_is_refused_by_name_and_shapes(name: str) -> None:
    shape = tuple(weights()[name].shape)
    state = {**weights(), name: torch.zeros(3, 1, 3)}
    with pytest.raises(CheckpointError, match="mis-shaped") as error:
        convert_state(state, reference_config())
    assert f"{name}: expected {shape}, got (3, 1, 3)" in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "surprise.weight",
        "llm.model.layers.2.mlp.down_proj.weight",  # the recorded language model has layers 0 and 1
        "visual_encoder.vision_model.encoder.layers.x.mlp.fc1.bias",
        "vision_encoder.vision_model.post_layernorm.bias",  # given in both namings: one of them is too many
    ],
)
def test_an_extra_tensor_is_refused_by_name(name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"unknown \(1\): {name}$"):
        convert_state({**weights(), name: torch.zeros(32)}, reference_config())


def test_all_problems_are_listed_at_once() -> None:
    state = dict(weights())
    del state["bg_embeds.weight"], state["segmentor.logit_scale"]
    state |= {"a": torch.zeros(1), "llm.model.norm.weight": torch.zeros(7)}
    with pytest.raises(CheckpointError) as error:
        convert_state(state, reference_config())
    said = str(error.value)
    for part in ("unknown (1): a", "missing (2): bg_embeds.weight, segmentor.logit_scale", "got (7,)"):
        assert part in said


def padded_vocabulary(rows: int) -> State:
    """Phi-3's tables as they are before they're cut to the tokenizer: more rows, which nobody asks for."""
    state = dict(weights())
    for name in ("llm.model.embed_tokens.weight", "llm.lm_head.weight"):
        state[name] = torch.cat([state[name], torch.randn(rows - len(state[name]), state[name].shape[1])])
    return state


@torch.no_grad()
def test_padded_vocabularies_are_taken(tmp_path: Path) -> None:
    save_file(padded_vocabulary(576), tmp_path / "padded.safetensors")
    model = load_released(tmp_path / "padded.safetensors", reference_config())
    assert model.config.language["vocab_size"] == 576 > len(tokenizer()) == 528
    ids = torch.arange(528)[None]
    states = model.language.states(model.language.embed(ids))
    theirs = reference_model().language
    assert torch.equal(states, theirs.states(theirs.embed(ids)))
    assert torch.equal(model.language.logits(states)[..., :528], theirs.logits(states))


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        (32064, True),  # Phi-3's own padding
        (32014, True),  # cut to the tokenizer
        (32011, False),  # X-SAM's three tokens were never added
        (32128, False),  # no padding of this vocabulary
    ],
)
def test_rows_of_the_full_size_vocabulary(rows: int, taken: bool) -> None:
    shapes = released_shapes()
    for name in ("llm.model.embed_tokens.weight", "llm.lm_head.weight"):
        shapes[name] = (rows, 3072)
    config = with_vocabulary_of(XSamConfig.variant("phi3"), shapes)
    if taken:
        convert_names(shapes, config)
        assert config.language["vocab_size"] == rows
    else:
        with pytest.raises(CheckpointError, match=rf"embed_tokens.*got \({rows}, 3072\)"):
            convert_names(shapes, config)


def test_tables_of_different_length_are_refused() -> None:
    state = {**padded_vocabulary(576), "llm.lm_head.weight": weights()["llm.lm_head.weight"]}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert with_vocabulary_of(reference_config(), shapes) == reference_config()


def test_a_config_with_other_encoders_has_no_released_layout() -> None:
    from xsam_backend.training.tiny import tiny_config

    with pytest.raises(CheckpointError, match="expected a config with the released encoders"):
        convert_state(weights(), replace(tiny_config(528), name="tiny"))


def test_reading_loses_nothing(tmp_path: Path) -> None:
    torch.save({"state_dict": weights(), "meta": {"epoch": 1}}, tmp_path / "released.pth")
    read = read_released(tmp_path / "released.pth")
    assert set(read) == set(weights())
    assert all(torch.equal(read[name], tensor) for name, tensor in weights().items())
