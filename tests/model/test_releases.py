from __future__ import annotations

import pytest

from xsam_backend.errors import CheckpointError
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.releases import RELEASES, choose_tokenizer, choose_weights

RELEASED = ["README.md", "s1_seg/a/pytorch_model.bin", "s2_align/b/pytorch_model.bin", "s3_mixed/c/pytorch_model.bin"]


@pytest.mark.parametrize(
    ("paths", "subfolder", "chosen"),
    [
        (RELEASED, "s3_mixed", "s3_mixed/c/pytorch_model.bin"),  # of several stages the asked one
        (RELEASED, "s3_mixed/c", "s3_mixed/c/pytorch_model.bin"),  # named in full
        (["pytorch_model.bin", "config.json"], "s3_mixed", "pytorch_model.bin"),  # a fork without stages
        (["a/model.safetensors", "a/pytorch_model.bin"], "", "a/model.safetensors"),  # the same in two formats
        (["m-1.safetensors", "m-2.safetensors", "m.safetensors.index.json"], "", "m.safetensors.index.json"),
        (["p-1.bin", "p-2.bin", "p.bin.index.json"], "", "p.bin.index.json"),
        (["last.pth"], "", "last.pth"),
    ],
)
def test_the_weights_among_a_repositorys_files(paths: list[str], subfolder: str, chosen: str) -> None:
    assert choose_weights(paths, subfolder) == chosen


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (RELEASED, "several weights may be meant: s1_seg/a/pytorch_model.bin, s2_align.* --subfolder"),
        (["a.bin", "b.bin"], "several weights may be meant: a.bin, b.bin"),
        (["README.md", "train.json"], "among the repository's 2 files, found none"),
        ([], "among the repository's 0 files, found none"),
    ],
)
def test_no_guessing(paths: list[str], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        choose_weights(paths)


def test_a_tokenizer_beside_the_weights_goes_before_one_at_the_root() -> None:
    root = ["tokenizer.json", "tokenizer_config.json"]
    beside = ["s3/tokenizer.json", "s3/tokenizer_config.json"]
    assert choose_tokenizer(root + beside, "s3/pytorch_model.bin") == tuple(beside)
    assert choose_tokenizer(root + beside[:1], "s3/pytorch_model.bin") == tuple(root)
    assert choose_tokenizer(beside, "pytorch_model.bin") == ()


def test_known_releases_have_sizes_of_ours() -> None:
    assert RELEASES["hao9610/X-SAM"].variant == "phi3"
    for release in RELEASES.values():
        XSamConfig.variant(release.variant)
