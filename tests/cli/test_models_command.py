from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from released_models import TOKENIZER, released_config, released_state, torch_bytes
from safetensors.torch import save_file

from xsam_backend.config import Settings
from xsam_backend.model.checkpoint import model_version
from xsam_backend.model.folders import SHIPPED, WEIGHTS
from xsam_backend.model.released import released_layout
from xsam_backend.server.services import open_services


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A released file with its config beside it."""
    path = tmp_path / "released" / "pytorch_model.bin"
    path.parent.mkdir()
    path.write_bytes(torch_bytes(released_state()))
    (tmp_path / "sizes.json").write_text(released_config().to_json())
    return path


@pytest.fixture
def pulled(run: Any, source: Path, tmp_path: Path) -> Path:
    """A model in the models folder, as me/small."""
    target = tmp_path / "data" / "models" / "me" / "small"
    status, out, err = run(
        "models", "convert", source, target, "--variant", tmp_path / "sizes.json", "--tokenizer", TOKENIZER
    )
    assert status == 0, err
    assert out == f"{target} is version {model_version(target)}: use it with --model {target}\n"
    return target


def test_list_shows_the_shipped_and_the_pulled(run: Any, pulled: Path) -> None:
    status, out, _ = run("models", "list")
    assert status == 0
    tiny, mine = out.splitlines()
    assert tiny.split() == ["tiny", model_version(SHIPPED / "tiny"), "20.2", "MB", "float16", str(SHIPPED / "tiny")]
    size = f"{(pulled / WEIGHTS).stat().st_size / 1e6:.1f}"
    assert mine.split() == ["me/small", model_version(pulled), size, "MB", "bfloat16", str(pulled)]


def test_list_says_of_a_damaged_one_that_it_is(run: Any, pulled: Path) -> None:
    (pulled / WEIGHTS).write_bytes(b"not weights")
    status, out, _ = run("models", "list")
    assert status == 0
    assert "me/small  cannot be used: " in out


def test_predict_finds_a_pulled_model_by_its_name(run: Any, pulled: Path, tmp_path: Path) -> None:
    status, out, err = run(
        "predict", Path(__file__).parents[2] / "docs" / "scene.png", "--click", "200,200", "--model", "me/small"
    )
    assert status == 0, err
    assert out


def test_predict_says_how_to_get_one_that_is_not_here(run: Any) -> None:
    picture = Path(__file__).parents[2] / "docs" / "scene.png"
    status, _, err = run("predict", picture, "--click", "9,9", "--model", "hao9610/X-SAM")
    assert status == 1
    assert "fetch it with: xsam-backend models pull hao9610/X-SAM" in err


def test_info_about_the_shipped_model(run: Any) -> None:
    status, out, _ = run("models", "info", "tiny")
    assert status == 0
    facts = dict(line.split("  ", 1) for line in out.splitlines())
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    assert facts["version"] == model_version(SHIPPED / "tiny")
    assert facts["stored"] == "float16, 20.2 MB"
    assert facts["segmentor encoder"].startswith("efficientnet")
    assert "<SEG> " in facts["tokenizer"]


def test_info_counts_parameters_and_memory(run: Any, pulled: Path, source: Path) -> None:
    out = run("models", "info", "me/small")[1]
    kept = released_layout(released_config())
    language = sum(torch.Size(shape).numel() for name, shape in kept.items() if name.startswith("llm."))
    assert f"language {language / 1e6:.1f}" in out
    assert f"weights {(pulled / WEIGHTS).stat().st_size / 1e6:.1f} MB in bfloat16" in out
    assert "0.0 MB more per cached picture" in out
    assert f"source             {source}" in out
    assert "528 entries; <SEG> 525, <p> 526, </p> 527" in out


def test_info_about_a_format_that_nobody_runs_in(run: Any, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(torch_bytes(released_state(torch.float64)))
    (tmp_path / "sizes.json").write_text(released_config().to_json())
    sizes = ["--variant", tmp_path / "sizes.json", "--tokenizer", TOKENIZER]
    assert run("models", "convert", tmp_path / "model.bin", tmp_path / "model", *sizes)[0] == 0
    status, out, err = run("models", "info", tmp_path / "model")
    assert status == 0, err
    assert "stored             float64, " in out


def test_info_verify_tells_other_weights(run: Any, pulled: Path) -> None:
    status, out, _ = run("models", "info", "me/small", "--verify")
    assert status == 0
    assert "as recorded" in out
    content = (pulled / WEIGHTS).read_bytes()
    (pulled / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    status, _, err = run("models", "info", "me/small", "--verify")
    assert status == 1
    assert "not the weights that were converted" in err


def test_info_about_a_released_file_says_what_it_lacks(run: Any, source: Path) -> None:
    """The small one is none of the shipped sizes: nearest is named, and what doesn't fit."""
    status, out, _ = run("models", "info", source)
    assert status == 0
    assert "naming      released; not converted" in out
    assert "complete    no; nearest is " in out
    assert "mis-shaped (" in out
    assert "stored      bfloat16" in out


def test_info_about_a_released_folder_with_a_config_of_its_own(run: Any, source: Path) -> None:
    (source.parent / "config.json").write_text('{"architectures": ["XSamModel"]}')
    status, out, err = run("models", "info", source.parent)
    assert status == 0, err
    assert "naming      released; not converted" in out


def test_info_tells_a_complete_released_file(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = tmp_path / "variants"
    variants.mkdir()
    (variants / "small.json").write_text(released_config().to_json())
    monkeypatch.setattr("xsam_backend.model.config.VARIANTS", variants)
    monkeypatch.setattr("xsam_backend.model.facts.VARIANTS", variants)
    newer = {name.replace("visual_encoder.", "vision_encoder."): t for name, t in released_state().items()}
    save_file(newer, tmp_path / "model.safetensors")
    out = run("models", "info", tmp_path / "model.safetensors")[1]
    assert "naming      newer; not converted" in out
    assert "complete    yes, fits small: `xsam-backend models convert" in out
    del newer["bg_embeds.weight"]
    save_file(newer, tmp_path / "model.safetensors")
    assert (
        "no; nearest is small: missing (1): bg_embeds.weight"
        in run("models", "info", tmp_path / "model.safetensors")[1]
    )


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["pull", "tiny"], 2, "expected a repository such as hao9610/X-SAM, got 'tiny'"),
        (["pull", "me/unknown"], 2, "me/unknown: give --variant, the sizes of its model"),
        (["pull", "me/it", "--variant", "phi9"], 1, "no variant 'phi9': expected one of phi3"),
        (["pull", "me/it", "--variant", "none.json"], 1, "none.json: cannot be read as a config"),
        (["pull", "hao9610/X-SAM", "--offline"], 1, "is not in the cache"),
        (["info", "nothing"], 1, "no model 'nothing'"),
        (["info", "me/other"], 1, "xsam-backend models pull me/other"),
        (["info", "SOURCE", "--verify"], 2, "--verify is for converted models"),
        (["convert", "SOURCE", "OUT"], 1, "expected tokenizer.json, found none"),
        (["convert", "SOURCE", "OUT", "--tokenizer", "TOKENIZER"], 1, "the weights don't fit the config"),
        (["convert", "missing.bin", "OUT"], 2, "does not exist"),
        (["convert", "SOURCE", "OUT", "--dtype", "int8"], 2, "'int8' is not one of"),
    ],
)
def test_what_goes_wrong_is_said(
    run: Any,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    names = {"SOURCE": source, "OUT": tmp_path / "out", "TOKENIZER": TOKENIZER}
    got, out, err = run("models", *[names.get(part, part) for part in arguments])
    assert (got, out) == (status, "")
    assert said in err
    assert not (tmp_path / "out").exists()


def test_convert_takes_the_tokenizer_beside_the_source(run: Any, source: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, source.parent)
    sizes = tmp_path / "sizes.json"
    assert run("models", "convert", source.parent, tmp_path / "out", "--variant", sizes)[0] == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["name"] == "small-released"


def test_the_service_finds_a_pulled_model_by_its_name(pulled: Path, settings: Settings) -> None:
    services = open_services(settings.model_copy(update={"model": "me/small", "device": "cpu"}))
    try:
        assert services.engine.model_version == model_version(pulled)
    finally:
        services.close()
