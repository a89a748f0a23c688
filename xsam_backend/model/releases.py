"""Which files of a repository are X-SAM's weights, and where the rest of a model comes from: data and names only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from xsam_backend.errors import CheckpointError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
"""What a tokenizer is read from. Older repositories have more files, which say the same once more."""

_INDICES = (".safetensors.index.json", ".bin.index.json")
_SINGLE = (".safetensors", ".bin", ".pth", ".pt")


@dataclass(frozen=True)
class Release:
    """What has to be known of a repository besides its name.

    Attributes:
        variant: the config's name.
        tokenizer: repository of the language model, whose tokenizer it is; without X-SAM's own tokens.
        subfolder: where the weights are; others hold earlier stages of the training.
    """

    variant: str
    tokenizer: str
    subfolder: str = ""


RELEASES: dict[str, Release] = {
    # Three stages of training and a data set's annotations; the last stage answers.
    "hao9610/X-SAM": Release("phi3", tokenizer="microsoft/Phi-3-mini-4k-instruct", subfolder="s3_mixed_finetune"),
}


def choose_weights(paths: Sequence[str], subfolder: str = "") -> str:
    """The path of the weights among a repository's: an index of shards, or the only weights file of its folder.

    Formats in order: safetensors before torch, shards before one file. A ``subfolder`` is looked into at any depth;
    where the repository doesn't have it, the whole is looked through.

    Raises:
        CheckpointError: no weights, or several that may be meant.
    """
    below = [path for path in paths if PurePosixPath(path).is_relative_to(subfolder)]
    found = _weights(below) or _weights(paths)
    if not found:
        raise CheckpointError(
            f"expected weights ({', '.join(_SINGLE)}, or an index of shards) among the repository's {len(paths)} "
            "files, found none: is it the right repository?"
        )
    if len(found) > 1:
        raise CheckpointError(
            f"several weights may be meant: {', '.join(found)}: choose a folder with --subfolder, or fetch one "
            "yourself and use `xsam-backend models convert`"
        )
    return found[0]


def choose_tokenizer(paths: Sequence[str], weights: str) -> tuple[str, ...]:
    """Paths of a repository's tokenizer, beside the weights or at its root; none where it has no tokenizer."""
    for folder in (PurePosixPath(weights).parent, PurePosixPath()):
        own = tuple((folder / name).as_posix() for name in TOKENIZER_FILES)
        if set(own) <= set(paths):
            return own
    return ()


def _weights(paths: Sequence[str]) -> list[str]:
    """What may be meant, of each folder only the preferred form."""
    chosen = []
    for folder in sorted({PurePosixPath(path).parent for path in paths}):
        inside = [path for path in paths if PurePosixPath(path).parent == folder]
        forms = [[path for path in inside if path.endswith(ending)] for ending in (*_INDICES, *_SINGLE)]
        chosen += next((form for form in forms if form), [])
    return sorted(chosen)
