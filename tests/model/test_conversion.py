"""From a released checkpoint to our folder: all of it, or nothing and a reason."""

from __future__ import annotations

import errno
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from released_models import TOKENIZER, released_config, released_state, safetensors_bytes, torch_bytes
from safetensors.torch import load_file
from small_models import noise_picture
from torch import Tensor

from xsam_backend.errors import CheckpointError
from xsam_backend.model import precision
from xsam_backend.model.checkpoint import load_config, load_model, load_tokenizer, model_version
from xsam_backend.model.conversion import _whole, convert
from xsam_backend.model.folders import CONFIG, WEIGHTS
from xsam_backend.model.predictor import load_predictor
from xsam_backend.model.released import load_released, released_layout
from xsam_backend.prompts import Point, Prompt, Task

State = dict[str, Tensor]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(torch_bytes(released_state()))
    return path


def converted(source: Path, target: Path, dtype: str = "stored") -> Path:
    convert(source, target, released_config(), TOKENIZER, dtype=dtype)
    return target


def test_the_folder_is_the_released_model(source: Path, tmp_path: Path) -> None:
    folder = converted(source, tmp_path / "a" / "model")
    tensors = load_file(folder / WEIGHTS)
    expected = load_released(source, released_config()).state_dict()
    assert set(tensors) == set(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert load_config(folder) == released_config()
    assert {path.name for path in folder.iterdir()} == {
        CONFIG,
        WEIGHTS,
        "tokenizer.json",
        "tokenizer_config.json",
        "weights.json",
    }
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_every_form_of_the_source_gives_the_same_version(source: Path, tmp_path: Path) -> None:
    wrapped, flat = tmp_path / "wrapped.pth", tmp_path / "model.safetensors"
    wrapped.write_bytes(torch_bytes({"state_dict": released_state(), "meta": {"epoch": 1}}))
    flat.write_bytes(safetensors_bytes(released_state()))
    versions = {model_version(converted(path, tmp_path / path.stem)) for path in (source, wrapped, flat)}
    assert len(versions) == 1


@pytest.mark.parametrize(("dtype", "expected"), [("float32", torch.float32), ("float16", torch.float16)])
def test_another_number_format(source: Path, tmp_path: Path, dtype: str, expected: torch.dtype) -> None:
    tensors = load_file(converted(source, tmp_path / "model", dtype) / WEIGHTS)
    assert {tensor.dtype for tensor in tensors.values()} == {expected}
    assert torch.equal(tensors["background.weight"], released_state()["bg_embeds.weight"].to(expected))


def test_the_tokenizer_writes_what_the_recorded_one_does(source: Path, tmp_path: Path) -> None:
    """Chat tokens swallow the newline after them, and X-SAM's tokens come right after the language model's."""
    tokenizer = load_tokenizer(converted(source, tmp_path / "model"))
    before = load_tokenizer(TOKENIZER)
    text = "<|user|>\nWhat is it?<|end|>\n<|assistant|>\nIt is "
    ids = tokenizer(text + "<SEG>.", add_special_tokens=False)["input_ids"]
    expected = before(text, add_special_tokens=False)["input_ids"]
    assert ids[: len(expected)] == expected
    assert 525 in ids


@pytest.mark.parametrize("tokenizer_class", ["LlamaTokenizer", "PreTrainedTokenizerFast"])
def test_the_language_models_own_tokenizer_class_makes_no_difference(
    tokenizer_class: str, source: Path, tmp_path: Path
) -> None:
    """Phi-3's says LlamaTokenizer, with options of the slow one; the file tokenizer.json decides."""
    words = tmp_path / "words"
    words.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        content = (TOKENIZER / name).read_text()
        content = content.replace('"PreTrainedTokenizerFast"', f'"{tokenizer_class}", "legacy": false')
        (words / name).write_text(content)
    convert(source, tmp_path / "model", released_config(), words)
    tokenizer = load_tokenizer(tmp_path / "model")
    assert len(tokenizer) == 528
    text = "<|user|>\nFind the red ball<|end|>\n"
    assert tokenizer(text)["input_ids"] == load_tokenizer(TOKENIZER)(text)["input_ids"]


def test_tensors_that_share_memory_are_written_one_by_one(tmp_path: Path) -> None:
    """Somebody tied the language model's two tables before saving; ours are two."""
    state = released_state()
    tied = {**state, "llm.lm_head.weight": state["llm.model.embed_tokens.weight"]}
    (tmp_path / "model.bin").write_bytes(torch_bytes(tied))
    tensors = load_file(converted(tmp_path / "model.bin", tmp_path / "model") / WEIGHTS)
    embeddings = tensors["language.model.model.embed_tokens.weight"]
    assert torch.equal(tensors["language.model.lm_head.weight"], embeddings)


def missing(state: State) -> None:
    del state["bg_embeds.weight"]


def surplus(state: State) -> None:
    state["llm.model.layers.9.mlp.down_proj.weight"] = torch.ones(2)


def misshaped(state: State) -> None:
    state["bg_embeds.weight"] = torch.ones(2, 32)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing, r"missing \(1\): bg_embeds\.weight"),
        (surplus, r"unknown \(1\): llm\.model\.layers\.9\.mlp\.down_proj\.weight"),
        (misshaped, r"mis-shaped \(1\): bg_embeds\.weight: expected \(1, 32\), got \(2, 32\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_left(
    spoil: Callable[[State], None], words: str, tmp_path: Path
) -> None:
    state = dict(released_state())
    spoil(state)
    (tmp_path / "model.bin").write_bytes(torch_bytes(state))
    with pytest.raises(CheckpointError, match=words):
        converted(tmp_path / "model.bin", tmp_path / "out" / "model")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(CheckpointError, match="mine is there already: choose another folder"):
        converted(source, tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_no_room_is_told_before_anything_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xsam_backend.model.conversion.shutil.disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(CheckpointError, match=r"model needs 0\.0 GB, its disk has 0\.0 GB free: make room"):
        converted(source, tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_that_fills_up_leaves_the_old_model(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = converted(source, tmp_path / "out" / "model")
    before = (target / WEIGHTS).read_bytes()

    def full(_tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("xsam_backend.model.conversion.save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot be written .*No space left on device.*: is there room"):
        convert(source, target, released_config(), TOKENIZER, replace=True)
    assert (target / WEIGHTS).read_bytes() == before
    assert list((tmp_path / "out").iterdir()) == [target]


@pytest.mark.parametrize("moved", [False, True], ids=["while writing", "between the two renamings"])
def test_what_a_killed_conversion_left_is_put_right(moved: bool, source: Path, tmp_path: Path) -> None:
    """Half of a new folder; the old one where it was, or moved out of the way. The next conversion even fails."""
    target = converted(source, tmp_path / "out" / "model")
    before = (target / WEIGHTS).read_bytes()
    (tmp_path / "out" / ".model.xsam-backend-new").mkdir()
    (tmp_path / "out" / ".model.xsam-backend-new" / WEIGHTS).write_bytes(b"half")
    if moved:
        target.replace(tmp_path / "out" / ".model.xsam-backend-old")
    with pytest.raises(RuntimeError, match="fails"), _whole(target, 1, replace=True):
        raise RuntimeError("fails")
    assert (target / WEIGHTS).read_bytes() == before
    assert list((tmp_path / "out").iterdir()) == [target]


def test_two_conversions_into_one_folder_do_not_meet(tmp_path: Path) -> None:
    with _whole(tmp_path / "model", 1, replace=True) as folder:
        with (
            pytest.raises(CheckpointError, match="another process is converting into"),
            _whole(tmp_path / "model", 1, replace=True),
        ):
            pytest.fail("both at once")
        (folder / WEIGHTS).write_bytes(b"ours")
    assert (tmp_path / "model" / WEIGHTS).read_bytes() == b"ours"


def test_the_old_model_that_comes_back_is_not_overwritten_either(source: Path, tmp_path: Path) -> None:
    """A replacement was killed between its two renamings, so that nothing is at the old one's place."""
    target = converted(source, tmp_path / "out" / "model")
    before = (target / WEIGHTS).read_bytes()
    target.replace(tmp_path / "out" / ".model.xsam-backend-old")
    with pytest.raises(CheckpointError, match="model is there already: choose another folder"):
        converted(source, target, "float32")
    assert (target / WEIGHTS).read_bytes() == before


def test_what_appears_at_its_place_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def written() -> None:
        with _whole(target, 1, replace=False) as folder:
            (folder / WEIGHTS).write_bytes(b"ours")
            target.mkdir()
            (target / "mine").write_bytes(b"theirs")

    with pytest.raises(CheckpointError, match="cannot be written"):
        written()
    assert (target / "mine").read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"theirs")
    with (
        pytest.raises(CheckpointError, match=r"model: expected a folder to replace, found a file"),
        _whole(tmp_path / "model", 1, replace=True),
    ):
        pytest.fail("it may not come so far")
    assert (tmp_path / "model").read_bytes() == b"theirs"


@pytest.mark.parametrize("name", [".model.new", ".model.old", "model.old"])
def test_folders_of_the_users_with_similar_names_are_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_bytes(b"theirs")
    with _whole(tmp_path / "model", 1, replace=True) as folder:
        (folder / WEIGHTS).write_bytes(b"ours")
    assert (tmp_path / name / "mine").read_bytes() == b"theirs"
    assert (tmp_path / "model" / WEIGHTS).read_bytes() == b"ours"


def test_a_link_to_another_disk_stays_one(tmp_path: Path) -> None:
    """Weights are large: people keep them elsewhere."""
    disk, link = tmp_path / "disk" / "model", tmp_path / "models" / "model"
    for folder in (disk, link.parent):
        folder.mkdir(parents=True)
    link.symlink_to(disk)
    for content in (b"first", b"second"):
        with _whole(link, 1, replace=True) as folder:
            (folder / WEIGHTS).write_bytes(content)
        assert link.is_symlink()
        assert (disk / WEIGHTS).read_bytes() == content
    assert [list(folder.iterdir()) for folder in (disk.parent, link.parent)] == [[disk], [link]]


def test_a_converted_model_answers_in_its_own_number_format(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)  # on every machine
    predictor = load_predictor(str(converted(source, tmp_path / "model")), "cpu")
    assert predictor.model.dtype == torch.bfloat16
    answer = predictor.answer(predictor.encode(noise_picture()), Prompt(Task.INTERACTIVE, (Point(20, 20),)))
    assert answer.instances.masks.dtype == np.bool_


def anonymous_bytes() -> int:
    """Memory of this process that is no mapped file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024


@contextmanager
def most_anonymous_bytes() -> Iterator[list[int]]:
    """A list that gets the most memory beyond what there was, looked at every few milliseconds."""
    before, most, done = anonymous_bytes(), [0], threading.Event()

    def look() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], anonymous_bytes() - before)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_neither_conversion_nor_loading_copies_the_weights(tmp_path: Path) -> None:
    config = released_config()
    config = replace(config, language={**config.language, "intermediate_size": 300_000})
    layout = released_layout(config)
    source = tmp_path / "pytorch_model.bin"
    torch.save({name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in layout.items()}, source)
    nbytes = source.stat().st_size
    assert nbytes > 100e6
    gc.collect()
    with most_anonymous_bytes() as converting:
        convert(source, tmp_path / "model", config, TOKENIZER)
    assert converting[0] < nbytes / 4
    with most_anonymous_bytes() as loading:
        model = load_model(tmp_path / "model", torch.bfloat16)
    assert loading[0] < nbytes / 4
    with most_anonymous_bytes() as casting:  # so that the measure is known to see a copy
        wider = load_model(tmp_path / "model", torch.float32)
    assert casting[0] > nbytes
    assert model.dtype != wider.dtype
