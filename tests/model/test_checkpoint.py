"""Our folder on disk: what is written comes back, and what doesn't fit is refused in words."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import SIDE, small_config, small_model

from xsam_backend.errors import CheckpointError
from xsam_backend.model.checkpoint import (
    build_empty,
    expected_shapes,
    load_config,
    load_model,
    load_state,
    load_tokenizer,
    model_version,
    save_model,
)
from xsam_backend.model.folders import CONFIG, SHIPPED, WEIGHTS, folders_by_name, model_folder
from xsam_backend.model.xsam import XSam

KINDS = [("shared", "phi3"), ("released", "qwen3")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model."""
    save_model(small_model(), tmp_path / "small")
    return tmp_path / "small"


def outputs(model: XSam) -> list[torch.Tensor]:
    vision = model.config.vision.image_size
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        features = model.encode(
            torch.randn(1, 3, vision, vision, generator=generator), torch.randn(1, 3, SIDE, SIDE, generator=generator)
        )
        return [*features.tensors, model.language.states(model.language.embed(torch.arange(60)[None]))]


@pytest.mark.parametrize(("encoders", "language"), KINDS)
def test_saved_in_full_it_comes_back_bit_for_bit(tmp_path: Path, encoders: str, language: str) -> None:
    model = small_model(encoders=encoders, language=language)
    save_model(model, tmp_path, torch.float32)
    again = load_model(tmp_path)
    assert again.config == model.config
    assert not again.training
    for ours, theirs in zip(outputs(again), outputs(model), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("encoders", "language"), KINDS)
def test_saved_in_half_it_is_the_same_after_another_round(tmp_path: Path, encoders: str, language: str) -> None:
    """What fp16 loses it loses once."""
    save_model(small_model(encoders=encoders, language=language), tmp_path / "a")
    first = load_model(tmp_path / "a")
    assert first.dtype == torch.float32
    save_model(first, tmp_path / "b")
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()
    assert {tensor.dtype for tensor in load_file(tmp_path / "a" / WEIGHTS).values()} == {torch.float16}


def test_tied_embeddings_are_saved_once_and_stay_tied(tmp_path: Path) -> None:
    save_model(small_model(language="qwen3"), tmp_path)
    assert "language.model.lm_head.weight" not in load_file(tmp_path / WEIGHTS)
    language = load_model(tmp_path).language.model
    assert language.lm_head.weight is language.get_input_embeddings().weight


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computed_tables_stay_exact_in_half_precision(folder: Path, dtype: torch.dtype) -> None:
    """Rotary frequencies rounded to bfloat16 would put token 2,000 radians away from its place."""
    model = load_model(folder, dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    tables = {name: table for name, table in model.named_buffers() if "inv_freq" in name}
    exact = dict(load_model(folder).named_buffers())
    assert tables
    assert all(torch.equal(table, exact[name]) for name, table in tables.items())


def test_an_empty_model_has_no_memory_and_a_loaded_one_leaves_none_out() -> None:
    empty = build_empty(small_config())
    assert {tensor.device.type for tensor in empty.parameters()} == {"meta"}
    filled = load_state(empty, small_model().state_dict())
    everything = [*filled.parameters(), *filled.buffers()]
    assert {tensor.device.type for tensor in everything} == {"cpu"}


def without(folder: Path, name: str) -> None:
    (folder / name).unlink()


def cut_short(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


def replaced(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\x80\x04not what you think" * 10)


@pytest.mark.parametrize(
    ("damage", "name", "words"),
    [
        (without, WEIGHTS, "expected model.safetensors, found none"),
        (without, CONFIG, "expected config.json, found none"),
        (cut_short, WEIGHTS, "model.safetensors: cannot be read"),
        (replaced, WEIGHTS, "model.safetensors: cannot be read"),
        (cut_short, CONFIG, "config.json: expected JSON"),
        (replaced, CONFIG, "config.json: cannot be read"),
    ],
)
def test_damaged_folders(folder: Path, damage, name: str, words: str) -> None:
    damage(folder, name)
    with pytest.raises(CheckpointError, match=words):
        load_model(folder)


def test_weights_that_the_config_does_not_describe(folder: Path) -> None:
    raw = json.loads((folder / CONFIG).read_text())
    raw["segmentor"]["num_queries"] = 9
    raw["language"]["num_hidden_layers"] = 1
    (folder / CONFIG).write_text(json.dumps(raw))
    with pytest.raises(CheckpointError) as error:
        load_model(folder)
    said = str(error.value)
    assert str(folder) in said
    assert "unknown (6): language.model.model.layers.1." in said
    assert "queries_features.weight: expected (9, 32), got (8, 32)" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("background.weight"), r"missing \(1\): background\.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), r"unknown \(1\): extra"),
        (lambda state: state.update({"background.weight": torch.zeros(2, 32)}), r"expected \(1, 32\), got \(2, 32\)"),
    ],
    ids=["missing", "extra", "mis-shaped"],
)
def test_tensors_that_do_not_fit_are_named(folder: Path, change, words: str) -> None:
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=words):
        load_model(folder)


def test_saving_does_not_leave_half_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / WEIGHTS).read_bytes()

    def full_disk(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("xsam_backend.model.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_model(small_model(1), folder)
    assert (folder / WEIGHTS).read_bytes() == before


def test_versions_are_those_of_the_weights(folder: Path, tmp_path: Path) -> None:
    version = model_version(folder)
    assert version.startswith("small-")
    shutil.copytree(folder, tmp_path / "copy")
    assert model_version(tmp_path / "copy") == version
    save_model(small_model(1), folder)
    assert model_version(folder) != version


def test_names_and_folders(folder: Path) -> None:
    assert model_folder("tiny") == SHIPPED / "tiny"
    assert model_folder(str(folder)) == folder
    with pytest.raises(CheckpointError, match="no model 'large': expected 'tiny', a name that"):
        model_folder("large")
    with pytest.raises(CheckpointError, match="fetch it with: xsam-backend models pull hao9610/X-SAM"):
        model_folder("hao9610/X-SAM", folder.parent)
    with pytest.raises(CheckpointError, match=f"convert it: xsam-backend models convert {folder.parent} FOLDER"):
        model_folder(str(folder.parent))


def test_names_in_the_models_folder(folder: Path, tmp_path: Path) -> None:
    """A name means what was pulled under it, wherever one stands; nothing that leads out of the folder is a name."""
    models = tmp_path / "models"
    shutil.copytree(folder, models / "me" / "it")
    shutil.copytree(folder, models / "me" / ".it-half")
    shutil.copytree(folder, models / "plain")
    (models / "me" / "half").mkdir()
    (models / "me" / "half" / CONFIG).write_text("{}")
    assert model_folder("me/it", models) == models / "me" / "it"
    assert set(folders_by_name(models)) == {"tiny", "me/it", "plain"}
    assert set(folders_by_name(tmp_path / "none")) == {"tiny"}
    with pytest.raises(CheckpointError, match="no model"):
        model_folder("../small", models)


def test_config_alone(folder: Path) -> None:
    assert load_config(folder) == small_config()


def test_tokenizer_has_the_special_tokens_and_a_folder_without_one_is_refused(folder: Path) -> None:
    assert {"<SEG>", "<p>", "</p>"} <= set(load_tokenizer(SHIPPED / "tiny").get_vocab())
    with pytest.raises(CheckpointError, match=r"expected tokenizer\.json"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", ""),  # a copy that was cut off
        ("tokenizer.json", '{"version": "1.0"'),
        ("tokenizer.json", "{}"),  # another JSON file
        ("tokenizer.json", "[]"),
        ("tokenizer_config.json", '{"eos_token"'),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_a_damaged_tokenizer_is_refused_in_words(folder: Path, name: str, content: str) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / "tiny" / file, folder)
    load_tokenizer(folder)
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=r"expected tokenizer\.json and tokenizer_config\.json, undamaged"):
        load_tokenizer(folder)


def test_expected_shapes_are_those_saved(folder: Path) -> None:
    saved = {name: tuple(tensor.shape) for name, tensor in load_file(folder / WEIGHTS).items()}
    assert expected_shapes(small_config()) == saved
