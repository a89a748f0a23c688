"""Configs: variants, reading and writing, and what is refused in which words."""

import json
import re
from typing import Any

import pytest
from small_models import small_config

from xsam_backend.errors import CheckpointError
from xsam_backend.model.checkpoint import build_empty
from xsam_backend.model.config import VARIANTS, XSamConfig
from xsam_backend.training.tiny import tiny_config

NAMES = sorted(path.stem for path in VARIANTS.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_variants_build_without_memory(name: str) -> None:
    config = XSamConfig.variant(name)
    assert config.name == name
    model = build_empty(config)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert model.language.width == config.language["hidden_size"]


def test_variants_there_are() -> None:
    assert {"phi3", "qwen3-1.7b", "qwen3-4b"} <= set(NAMES)


def test_unknown_variant_names_those_there_are() -> None:
    with pytest.raises(CheckpointError, match=r"no variant 'phi9': expected one of .*phi3"):
        XSamConfig.variant("phi9")


@pytest.mark.parametrize(
    "config",
    [
        small_config(),
        small_config(encoders="released", language="qwen3"),
        tiny_config(4000),
        XSamConfig.variant("phi3"),
    ],
    ids=["small", "small qwen3", "tiny", "phi3"],
)
def test_json_comes_back_equal(config: XSamConfig) -> None:
    again = XSamConfig.from_json(config.to_json())
    assert again == config
    assert again.to_json() == config.to_json()


def changed(path: str, value: Any) -> str:
    """The small config's JSON with one value set, or taken out where it's ``...``."""
    raw = json.loads(small_config().to_json())
    inner = raw
    *parents, name = path.split(".")
    for parent in parents:
        inner = inner[parent]
    if value is ...:
        del inner[name]
    else:
        inner[name] = value
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "my.json: expected JSON"),
        ("[]", "my.json: expected an object, got list"),
        (changed("surprise", 1), "my.json: unknown fields ['surprise'], missing fields []"),
        (changed("language", ...), "missing fields ['language']"),
        (changed("segmentor.num_queries", ...), "segmentor: unknown fields [], missing fields ['num_queries']"),
        (changed("segmentor.num_queries", "many"), "segmentor: num_queries: expected int, got 'many'"),
        (changed("segmentor.num_queries", True), "num_queries: expected int, got True"),
        (changed("segmentor.num_queries", 8.5), "num_queries: expected int, got 8.5"),
        (changed("use_bos", 1), "use_bos: expected bool, got 1"),
        (changed("language", "phi3"), "language: expected dict, got 'phi3'"),
        (changed("vision", 3), "vision: expected an object, got int"),
        (changed("vision.mean", 0.5), "vision: mean: expected a list, got 0.5"),
        (changed("vision.mean", [0.5]), "vision: mean: expected 3 values, got 1: [0.5]"),
        (changed("connector.out_channels", [32, "x", 32, 32]), "out_channels: expected int, got 'x'"),
        (changed("vision.kind", "clip"), "expected encoders siglip with sam, siglip with efficientnet"),
        (changed("segmentor_encoder.kind", "sam"), "got shared with sam"),
        (changed("chat_template", "llama"), "chat_template: expected one of phi3_chat"),
    ],
)
def test_wrong_fields_are_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(words)):
        XSamConfig.from_json(text, "my.json")


def test_whole_numbers_are_floats_where_floats_are_meant() -> None:
    config = XSamConfig.from_json(changed("losses.class_weight", 3))
    assert config.losses.class_weight == 3.0
    assert isinstance(config.losses.class_weight, float)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("language.model_type", "no_such_model"),
        ("language.hidden_size", "wide"),
        ("segmentor.feature_size", 31),  # group norm wants multiples of 32
        ("segmentor_encoder.transformers", {"hidden_size": "wide"}),
    ],
)
def test_sizes_that_no_model_can_have(path: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=r"language\.model_type|describes no model"):
        build_empty(XSamConfig.from_json(changed(path, value)))
