"""A released checkpoint becomes a folder in our format, which is written whole or not at all.

The source is mapped from disk and the target is written from there, so the memory needed is that of tensors whose
number format changes: none where it stays, one copy of the target where it doesn't.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from xsam_backend.errors import CheckpointError
from xsam_backend.model.chat_templates import CHAT_TEMPLATES, stop_ids
from xsam_backend.model.checkpoint import CONFIG, WEIGHTS, load_tokenizer
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.conversation import ADDED_TOKENS, add_special_tokens, special_ids
from xsam_backend.model.precision import DTYPES
from xsam_backend.model.released import VOCABULARY_STEP, convert_state, read_released, with_vocabulary_of
from xsam_backend.model.version import hash_file, write_record


def convert(
    source: Path,
    target: Path,
    config: XSamConfig,
    tokenizer: Path,
    *,
    dtype: str = "stored",
    origin: str = "",
    replace: bool = False,
    say: Callable[[str], None] = lambda _words: None,
) -> None:
    """Write a model folder from a released checkpoint.

    Args:
        source: a file, an index of shards, or a folder with one of those.
        config: the sizes; its vocabulary becomes the file's, where that is padded.
        tokenizer: folder of the language model's tokenizer, with X-SAM's own tokens or without.
        dtype: "stored" or a name of ``precision.DTYPES``.
        origin: where the source came from, noted for people.
        replace: whether an existing target may be replaced.
        say: told in words what takes long.

    Raises:
        CheckpointError: names or shapes that don't fit, each listed; a tokenizer of another model; a target that is
            there already; no room. Then the target is as it was.
    """
    if target.exists() and not replace:
        raise CheckpointError(f"{target} is there already: choose another folder, or remove it")
    say(f"reading {source}")
    state = read_released(source)
    fitted = with_vocabulary_of(config, {name: tuple(tensor.shape) for name, tensor in state.items()})
    ours = convert_state(state, fitted)
    words = tokenizer_for(fitted, tokenizer)
    typed = {name: _typed(tensor, dtype) for name, tensor in ours.items()}
    with _whole(target, sum(tensor.nbytes for tensor in typed.values())) as folder:
        say(f"writing {target}")
        (folder / CONFIG).write_text(fitted.to_json(), encoding="utf-8")
        words.save_pretrained(folder)
        weights = folder / WEIGHTS
        save_file(typed, weights, metadata={"format": "pt"})
        for file in folder.iterdir():
            file.chmod(0o644)  # safetensors makes files that only their owner can read
        write_record(weights, hash_file(weights), origin or str(source))


def tokenizer_for(config: XSamConfig, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer with X-SAM's tokens, which are added where the language model's own lacks them.

    Raises:
        CheckpointError: not as many entries as the weights have rows, so that ``<SEG>`` would be another row's; or
            without the chat's words.
    """
    tokenizer = load_tokenizer(folder)
    if not set(ADDED_TOKENS) <= set(tokenizer.get_vocab()):
        add_special_tokens(tokenizer)
    rows, entries = int(config.language["vocab_size"]), len(tokenizer)
    padded = -(-entries // VOCABULARY_STEP) * VOCABULARY_STEP
    if rows not in (entries, padded):
        raise CheckpointError(
            f"{folder}: a tokenizer of {entries} entries, {', '.join(ADDED_TOKENS)} included, and weights of {rows} "
            "rows don't belong together: give the tokenizer of the language model that the checkpoint was made with"
        )
    special_ids(tokenizer)
    stop_ids(tokenizer, CHAT_TEMPLATES[config.chat_template])
    return tokenizer


def _typed(tensor: Tensor, dtype: str) -> Tensor:
    """The tensor as it is to be written: contiguous, floats in the asked format."""
    if dtype != "stored" and tensor.is_floating_point():
        tensor = tensor.to(DTYPES[dtype])
    return tensor.contiguous()


@contextmanager
def _whole(target: Path, nbytes: int) -> Iterator[Path]:
    """A folder beside the target that takes its place in the end; on any error the target stays as it was.

    Raises:
        CheckpointError: no room for so many bytes, or the disk can't be written.
    """
    folder = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if nbytes > free:
            raise CheckpointError(
                f"{target} needs {nbytes / 1e9:.1f} GB, its disk has {free / 1e9:.1f} GB free: make room, or choose "
                "another folder"
            )
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        folder.chmod(0o755)
        yield folder
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
            target.replace(old)  # whoever has the old weights mapped keeps them
            folder.replace(target)
            shutil.rmtree(old)
        else:
            folder.replace(target)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{target} cannot be written ({error}): is there room, and may you write there?"
        ) from error
    finally:
        if folder is not None and folder != target:
            shutil.rmtree(folder, ignore_errors=True)
