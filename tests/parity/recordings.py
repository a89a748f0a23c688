"""Reads what was recorded from the reference model: tensors and JSON by case, pictures, weights, tokenizer.

The full set is used where it lies beside the repository, else our own part of it (see its README).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer

from xsam_backend.model.chat_templates import CHAT_TEMPLATES
from xsam_backend.model.conversation import TokenizedConversation, add_special_tokens, tokenize
from xsam_backend.model.turns import (
    Turn,
    gcg_turn,
    generic_turn,
    interactive_turn,
    reasoning_turn,
    referring_turn,
    vgd_turn,
)

PROJECT = Path(__file__).parents[2]
SHARED = PROJECT.parent / "shared" / "xsam-reference"
COPY = PROJECT / "tests" / "recorded" / "xsam_reference"
ROOT = SHARED if SHARED.is_dir() else COPY

# What the newer ``main`` branch calls differently.
RELEASED_TO_MAIN_PREFIXES = {
    "visual_encoder.": "vision_encoder.",
    "segmentor.logit_scale": "segmentor.class_predictor.logit_scale",
}


class TensorFile(Mapping[str, Tensor]):
    """A safetensors file as a mapping; a tensor is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, "pt") as file:
            self._names = tuple(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(f"{name} is not in {self.path.name}, which has {', '.join(self._names)}")
        with safe_open(self.path, "pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def numbered(self, prefix: str) -> list[Tensor]:
        """Tensors ``prefix.0``, ``prefix.1``, ... in that order."""
        found = []
        while f"{prefix}.{len(found)}" in self:
            found.append(self[f"{prefix}.{len(found)}"])
        return found


class Recording:
    """One case: ``facts`` is its JSON, ``tensors`` its tensors, the rest what they refer to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = ROOT / ("train" if name.startswith("train_") else "cases")

    def __repr__(self) -> str:
        return self.name

    @cached_property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / f"{self.name}.json").read_text())
        return facts

    @cached_property
    def tensors(self) -> TensorFile:
        return TensorFile(self.folder / f"{self.name}.safetensors")

    @property
    def task(self) -> str:
        return str(self.facts["task"])

    @property
    def samples(self) -> list[dict[str, Any]]:
        samples: list[dict[str, Any]] = self.facts["samples"]
        return samples

    @property
    def is_training(self) -> bool:
        return self.folder.name == "train"

    @property
    def is_generated(self) -> bool:
        """Whether the answer was generated, step by step, rather than given."""
        return str(self.facts.get("mode", "")).startswith("generate")

    @property
    def pads_to_square(self) -> bool:
        """Whether the vision encoder's picture was padded to a square (training and "nopad" cases stretch it)."""
        return not self.is_training and self.facts["features"][0].endswith("_square")

    def size_hw(self, sample: int = 0) -> tuple[int, int]:
        height, width = self.samples[sample]["image_size"]
        return height, width

    def scaled_hw(self, sample: int = 0) -> tuple[int, int]:
        height, width = self.samples[sample]["scaled_size"]
        return height, width

    def image(self, sample: int = 0) -> np.ndarray:
        """uint8 (H, W, 3)."""
        return picture(self.samples[sample]["image"])

    def features(self, sample: int = 0) -> TensorFile:
        """The stages that depend on the picture only. Training cases have none: take their pixel values."""
        return features(self.facts["features"][sample])

    def regions(self, sample: int = 0) -> np.ndarray:
        """bool (N, H, W): the region prompts of this case's task."""
        count = {"vgdseg": 2, "intseg": 1}.get(self.task, 0)
        stem = Path(self.samples[sample]["image"]).stem
        masks = [object_mask(f"{stem}_region{index}.png") for index in range(count)]
        return np.stack(masks) if masks else np.zeros((0, *self.size_hw(sample)), np.bool_)

    def results(self) -> Iterator[tuple[str, dict[str, Any], int]]:
        """(variant, settings, sample) of each recorded result."""
        for variant, result in self.facts.get("results", {}).items():
            for sample in range(len(result["items"])):
                yield variant, result["settings"], sample

    def result_info(self, variant: str, sample: int = 0) -> Any:
        """The ``segments_info`` of a result: a list, or for refseg one entry."""
        return self.facts["results"][variant]["items"][sample].get("segments_info")

    def result(self, variant: str, name: str, sample: int = 0) -> Tensor:
        """A tensor of a result: "segmentation", "instances.scores", ..."""
        return self.tensors[f"result.{variant}.{sample}.{name}"]


def case_names() -> list[str]:
    """Forward passes and generations, sorted."""
    return sorted(path.stem for path in (ROOT / "cases").glob("*.safetensors"))


def train_names() -> list[str]:
    """Training cases, sorted."""
    return sorted(path.stem for path in (ROOT / "train").glob("*.safetensors"))


def each_recording(
    keep: Callable[[Recording], bool] = lambda _: True, *, train: bool = False
) -> pytest.MarkDecorator:
    """Run a test with every ``recording`` that ``keep`` wants: cases, or the training ones."""
    recordings = [Recording(name) for name in (train_names() if train else case_names())]
    kept = [recording for recording in recordings if keep(recording)]
    return pytest.mark.parametrize("recording", _or_skipped(kept, 1), ids=str)


def each_result(keep: Callable[[Recording, str], bool]) -> pytest.MarkDecorator:
    """Run a test with every recorded result, as (recording, variant, settings, sample), that ``keep`` wants."""
    rows = [
        pytest.param(recording, variant, settings, sample, id=f"{recording.name}-{variant}-{sample}")
        for recording in map(Recording, case_names())
        for variant, settings, sample in recording.results()
        if keep(recording, variant)
    ]
    return pytest.mark.parametrize(("recording", "variant", "settings", "sample"), _or_skipped(rows, 4))


def _or_skipped(rows: list[Any], arguments: int) -> list[Any]:
    """The rows; without any a skipped one, if that can only be because the full set is not here."""
    assert rows or ROOT == COPY, "the test would never run: no recording is wanted"
    reason = "recorded in the full set only, ../shared/xsam-reference beside the repository"
    return rows or [pytest.param(*[None] * arguments, marks=pytest.mark.skip(reason=reason), id="none")]


def feature_names() -> list[str]:
    return sorted(path.stem for path in (ROOT / "features").glob("*.safetensors"))


@cache
def features(name: str) -> TensorFile:
    """Image-only stages by "image1_square" and the like."""
    return TensorFile(ROOT / "features" / f"{name}.safetensors")


@cache
def picture(name: str) -> np.ndarray:
    """uint8 (H, W, 3) by file name."""
    with Image.open(ROOT / "images" / name) as file:
        return np.asarray(file.convert("RGB"))


@cache
def object_mask(name: str) -> np.ndarray:
    """bool (H, W) by file name."""
    with Image.open(ROOT / "images" / name) as file:
        return np.asarray(file.convert("L")) > 0


@cache
def config() -> dict[str, Any]:
    """Every size of the tiny model."""
    loaded: dict[str, Any] = json.loads((ROOT / "config.json").read_text())
    return loaded


def manifest() -> dict[str, tuple[list[int], str]]:
    """Released checkpoint: name to shape and dtype."""
    loaded = json.loads((ROOT / "manifest-released.json").read_text())
    return {name: (shape, dtype) for name, (shape, dtype) in loaded.items()}


@cache
def weights() -> dict[str, Tensor]:
    """The tiny model's tensors under the released names."""
    return load_file(ROOT / "weights" / "tiny-released-naming.safetensors")


def weights_in_main_naming() -> dict[str, Tensor]:
    """The same tensors under the newer names; compared with the recorded file where that is at hand."""
    renamed = {}
    for name, tensor in weights().items():
        for released, main in RELEASED_TO_MAIN_PREFIXES.items():
            if name.startswith(released):
                name = main + name.removeprefix(released)
        renamed[name] = tensor
    return renamed


@cache
def tokenizer() -> Any:
    """The recorded tokenizer with X-SAM's three tokens added."""
    loaded = AutoTokenizer.from_pretrained(ROOT / "tokenizer")
    add_special_tokens(loaded)
    return loaded


def turns(recording: Recording, sample: int = 0) -> list[Turn]:
    """The sample's conversation, made by our builders from the words that were recorded."""
    conversation = recording.samples[sample]["conversation"]
    asked = [re.findall("<p>(.*?)</p>", turn["input"]) for turn in conversation]
    facts = recording.facts
    if recording.task in ("genseg", "ovseg"):
        return [generic_turn(facts["categories"][sample] if "categories" in facts else asked[0])]
    if recording.task == "refseg":
        return [referring_turn(phrase) for phrases in asked for phrase in phrases]
    if recording.task == "reaseg":
        return [reasoning_turn(phrase) for phrases in asked for phrase in phrases]
    if recording.task == "gcgseg":
        return [gcg_turn(facts.get("caption", ""), facts.get("tokens_positive", ()))]
    return [vgd_turn(len(asked[0])) if recording.task == "vgdseg" else interactive_turn()]


def tokens(recording: Recording, sample: int = 0) -> TokenizedConversation:
    """The sample's tokens, made by our code; equal to the recorded ones (test_text_parity)."""
    answered = bool(recording.samples[sample]["conversation"][-1]["output"])
    return tokenize(turns(recording, sample), tokenizer(), CHAT_TEMPLATES["phi3_chat"], with_answer=answered)


def assert_close(ours: Tensor, recorded: Tensor, tolerance: float, what: str = "") -> None:
    """Absolute comparison that says how far off the worst value is."""
    assert ours.shape == recorded.shape, f"{what}: shape {tuple(ours.shape)}, recorded {tuple(recorded.shape)}"
    worst = (
        (ours.detach().to("cpu", torch.float64) - recorded.to(torch.float64)).abs().max().item()
        if ours.numel()
        else 0
    )
    assert worst <= tolerance, f"{what}: differs by {worst:.2e}, allowed {tolerance:.0e}"
