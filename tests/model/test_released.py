"""Released checkpoints on disk: every form that is read, and what is refused without being unpickled."""

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from small_models import small_config, small_model
from torch import Tensor

from xsam_backend.errors import CheckpointError
from xsam_backend.model.released import convert_names, load_released, read_released, released_layout
from xsam_backend.model.weight_map import name_in_release, our_name, released_name
from xsam_backend.model.xsam import XSam

State = dict[str, Tensor]
TENSORS: State = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


def as_safetensors(folder: Path) -> Path:
    save_file(TENSORS, folder / "model.safetensors")
    return folder / "model.safetensors"


def as_torch(folder: Path) -> Path:
    torch.save(TENSORS, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def as_wrapped(folder: Path) -> Path:
    torch.save({"state_dict": TENSORS, "meta": {"iter": 3, "seed": None}}, folder / "last.pth")
    return folder / "last.pth"


def as_folder(folder: Path) -> Path:
    as_torch(folder)
    (folder / "config.json").write_text("{}")
    return folder


def as_shards(folder: Path, kind: str = "safetensors") -> Path:
    for number, (name, tensor) in enumerate(TENSORS.items()):
        if kind == "safetensors":
            save_file({name: tensor}, folder / f"model-{number}.safetensors")
        else:
            torch.save({name: tensor}, folder / f"model-{number}.bin")
    where = {name: f"model-{number}.{kind}" for number, name in enumerate(TENSORS)}
    (folder / f"model.{kind}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def as_torch_shards(folder: Path) -> Path:
    return as_shards(folder, "bin")


@pytest.mark.parametrize("write", [as_safetensors, as_torch, as_wrapped, as_folder, as_shards, as_torch_shards])
def test_every_form_gives_the_same_tensors(write: Callable[[Path], Path], tmp_path: Path) -> None:
    read = read_released(write(tmp_path))
    assert set(read) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype


class Surprise:
    """Unpickling it would leave a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("unpickled",)


def with_surprise(folder: Path) -> Path:
    torch.save({"a": TENSORS["b"], "optimizer": Surprise()}, folder / "model.bin")
    return folder


def with_numbers(folder: Path) -> Path:
    torch.save({"a": TENSORS["b"], "epoch": 3}, folder / "model.bin")
    return folder


def with_numbered_tensors(folder: Path) -> Path:
    torch.save({1: TENSORS["b"], "b": TENSORS["b"]}, folder / "model.bin")
    return folder


def with_list(folder: Path) -> Path:
    torch.save([TENSORS["b"]], folder / "model.bin")
    return folder


def with_nothing(folder: Path) -> Path:
    torch.save({}, folder / "model.bin")
    return folder


def truncated(folder: Path) -> Path:
    path = as_torch(folder)
    path.write_bytes(path.read_bytes()[:300])
    return folder


def truncated_safetensors(folder: Path) -> Path:
    path = as_safetensors(folder)
    path.write_bytes(path.read_bytes()[:-3])
    return folder


def old_format(folder: Path) -> Path:
    torch.save(TENSORS, folder / "model.pth", _use_new_zipfile_serialization=False)
    return folder


def two_files(folder: Path) -> Path:
    as_torch(folder)
    as_safetensors(folder)
    return folder


def empty_folder(folder: Path) -> Path:
    return folder


def no_file(folder: Path) -> Path:
    return folder / "nowhere.bin"


def lost_shard(folder: Path) -> Path:
    as_shards(folder)
    (folder / "model-1.safetensors").unlink()
    return folder


def shard_elsewhere(folder: Path) -> Path:
    (folder / "model.index.json").write_text(json.dumps({"weight_map": {"a": "../../secrets.bin"}}))
    return folder


def bad_index(folder: Path) -> Path:
    (folder / "model.index.json").write_text("[1]")
    return folder


def overlapping_shards(folder: Path) -> Path:
    as_shards(folder)
    save_file(TENSORS, folder / "model-1.safetensors")
    return folder


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (with_surprise, "holds other things than tensors, which are not unpickled here"),
        (with_numbers, "expected names with tensors only, these are none: epoch"),
        (with_numbered_tensors, "expected names with tensors only, these are none: 1"),
        (with_list, "expected names with tensors, got list"),
        (with_nothing, "expected names with tensors, got dict"),
        (truncated, "pytorch_model.bin: cannot be read as weights"),
        (truncated_safetensors, "model.safetensors: cannot be read as weights"),
        (old_format, "model.pth: cannot be read as weights"),
        (two_files, "expected one weights file, or shards with an index, found model.safetensors, pytorch_model.bin"),
        (empty_folder, "expected one weights file, or shards with an index, found none"),
        (no_file, "nowhere.bin: expected a checkpoint file or folder, found none"),
        (lost_shard, "names shards that are not there: model-1.safetensors"),
        (shard_elsewhere, "expected plain file names beside the index"),
        (bad_index, "expected JSON with a weight_map"),
        (overlapping_shards, "model-1.safetensors: tensors that an earlier shard gave already: a.weight"),
    ],
)
def test_what_is_refused(
    write: Callable[[Path], Path], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_released(write(tmp_path))
    assert "unpickled" not in capsys.readouterr().out


@given(st.data())
@settings(max_examples=200)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, over globals that a damaged pickle seems to name
def test_a_damaged_list_of_tensors_is_refused_in_words(data: st.DataObject) -> None:
    """Of a torch file, the pickle that says which tensors there are; 200 bytes of it are changed one by one."""
    buffer = io.BytesIO()
    torch.save(TENSORS, buffer)
    content = bytearray(buffer.getvalue())
    with zipfile.ZipFile(buffer) as archive:
        (entry,) = [entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")]
        start = bytes(content).index(archive.read(entry))
    content[start + data.draw(st.integers(0, entry.file_size - 1))] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.bin"
        path.write_bytes(content)
        with suppress(CheckpointError):
            read_released(path)


@pytest.mark.parametrize("language", ["phi3", "qwen3"])
def test_a_model_of_ours_goes_out_and_comes_back_under_released_names(language: str, tmp_path: Path) -> None:
    model = small_model(encoders="released", language=language)
    layout = released_layout(model.config)
    ours = {name_in_release(name): tensor for name, tensor in model.state_dict().items()}
    state = {name: ours.get(name, torch.zeros(shape)) for name, shape in layout.items()}
    save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "model.safetensors")
    again = load_released(tmp_path, model.config)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def as_torch_saves_it(model: XSam) -> State:
    """The state dict under released names, with the head that is the embeddings once more."""
    ours = {name_in_release(name): tensor for name, tensor in model.state_dict().items()}
    layout = released_layout(model.config)
    state = {name: ours.get(name, torch.zeros(shape)) for name, shape in layout.items()}
    return {**state, "llm.lm_head.weight": state["llm.model.embed_tokens.weight"]}


def test_a_head_that_is_the_embeddings_may_be_there_twice(tmp_path: Path) -> None:
    model = small_model(encoders="released", language="qwen3")
    torch.save(as_torch_saves_it(model), tmp_path / "model.bin")
    again = load_released(tmp_path, model.config)
    assert torch.equal(again.language.model.lm_head.weight, model.language.model.model.embed_tokens.weight)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda head: head + 1, r"llm\.lm_head\.weight is not llm\.model\.embed_tokens\.weight"),
        (lambda head: head[:-1], r"unknown \(1\): llm\.lm_head\.weight"),
    ],
    ids=["other numbers", "another shape"],
)
def test_another_head_than_the_embeddings_is_refused(
    spoil: Callable[[Tensor], Tensor], words: str, tmp_path: Path
) -> None:
    model = small_model(encoders="released", language="qwen3")
    state = as_torch_saves_it(model)
    torch.save({**state, "llm.lm_head.weight": spoil(state["llm.lm_head.weight"])}, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match=words):
        load_released(tmp_path, model.config)


def test_unused_tensors_are_part_of_the_layout_and_go_nowhere() -> None:
    config = small_config(encoders="released")
    renamed = convert_names(released_layout(config), config)
    dropped = sorted(name for name, ours in renamed.items() if ours is None)
    assert "segmentor.shared_image_embedding.positional_embedding" in dropped
    assert "visual_encoder.vision_model.encoder.layers.2.mlp.fc1.weight" in dropped
    assert not any(".encoder.layers.1." in name for name in dropped)


def test_shipped_sizes_have_no_released_names() -> None:
    with pytest.raises(CheckpointError, match="expected a config with the released encoders, siglip and sam"):
        released_layout(small_config())


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("llm.model.norm.weight", "language.model.model.norm.weight"),
        ("visual_encoder.vision_model.encoder.layers.1.layer_norm1.bias", "vision_encoder.model.encoder.layers.1."),
        ("vision_encoder.vision_model.encoder.layers.1.layer_norm1.bias", "vision_encoder.model.encoder.layers.1."),
        ("visual_encoder.vision_model.encoder.layers.2.layer_norm1.bias", None),
        ("segmentor.encoder.layers.2.mlp.lin1.bias", "segmentor_encoder.model.layers.2.mlp.lin1.bias"),
        ("segmentor.encoder.neck.conv1.weight", None),
        ("segmentor.class_predictor.logit_scale", "segmentor.logit_scale"),
        ("seg_connector.model.0.model.1.weight", "connector.model.0.model.1.weight"),
        ("bg_embeds.weight", "background.weight"),
    ],
)
def test_names(name: str, ours: str | None) -> None:
    found = our_name(name, vision_layers=2)
    assert found == ours or (ours is not None and found is not None and found.startswith(ours))
    if found is not None:
        assert name_in_release(found) == released_name(name)


@pytest.mark.parametrize("name", ["", "llm", "lm_head.weight", "module.llm.model.norm.weight"])
def test_names_that_no_rule_knows(name: str) -> None:
    with pytest.raises(KeyError):
        our_name(name, vision_layers=2)
    with pytest.raises(KeyError):
        name_in_release(name)
