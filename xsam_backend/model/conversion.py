"""A released checkpoint becomes a folder in our format, which is written whole or not at all.

The source is mapped from disk and the target is written from there, so the memory needed is that of tensors whose
number format changes: none where it stays, one copy of the target where it doesn't.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from xsam_backend.errors import CheckpointError
from xsam_backend.model.chat_templates import CHAT_TEMPLATES, stop_ids
from xsam_backend.model.checkpoint import load_tokenizer
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.conversation import ADDED_TOKENS, add_special_tokens, special_ids
from xsam_backend.model.folders import CONFIG, WEIGHTS
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
    if not replace:
        _refuse_existing(target)
    say(f"reading {source}")
    state = read_released(source)
    fitted = with_vocabulary_of(config, {name: tuple(tensor.shape) for name, tensor in state.items()})
    ours = convert_state(state, fitted)
    words = tokenizer_for(fitted, tokenizer)
    typed = _apart({name: _typed(tensor, dtype) for name, tensor in ours.items()})
    with _whole(target, sum(tensor.nbytes for tensor in typed.values()), replace=replace) as folder:
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


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each in memory of its own: safetensors refuses those that share it, as tied tables do."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.data_ptr() in seen:
            tensors[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    return tensors


@contextmanager
def _whole(target: Path, nbytes: int, *, replace: bool) -> Iterator[Path]:
    """A folder beside the target that takes its place in the end; on any error the target stays as it was.

    What a killed process left behind is put right by the next one: half a folder goes, the old one comes back if it
    had been moved out of the way.

    Raises:
        CheckpointError: a target that is there and may not be replaced, somebody else is writing it, no room for so
            many bytes, or the disk can't be written.
    """
    target = target.resolve()  # a link to another disk stays one
    folder, old = (target.with_name(f".{target.name}.xsam-backend-{what}") for what in ("new", "old"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.parent):
            _put_right(target, folder, old)
            if not replace:
                _refuse_existing(target)
            elif target.exists() and not target.is_dir():
                raise CheckpointError(f"{target}: expected a folder to replace, found a file: remove it")
            free = shutil.disk_usage(target.parent).free
            if nbytes > free:
                raise CheckpointError(
                    f"{target} needs {nbytes / 1e9:.1f} GB, its disk has {free / 1e9:.1f} GB free: make room, or "
                    "choose another folder"
                )
            folder.mkdir()
            try:
                yield folder
                if replace and target.exists():
                    target.replace(old)  # whoever has the old weights mapped keeps them
                folder.replace(target)  # fails over what somebody put there meanwhile
            finally:
                _put_right(target, folder, old)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{target} cannot be written ({error}): is there room, and may you write there?"
        ) from error


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise CheckpointError(f"{target} is there already: choose another folder, or remove it")


def _put_right(target: Path, folder: Path, old: Path) -> None:
    """Whatever happened, to us or to a killed process: the target is there if it ever was, and nothing else."""
    if old.exists() and not target.exists():
        old.replace(target)
    for left in (folder, old):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Inside, no other process converts into this folder. The lock is the folder's own, and ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CheckpointError(f"another process is converting into {folder}: wait for it, or stop it") from None
    else:
        yield
    finally:
        os.close(descriptor)
