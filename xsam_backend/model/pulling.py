"""A model by name: its files from the hub, then a folder in our format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from xsam_backend.errors import CheckpointError
from xsam_backend.model.checkpoint import load_config
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.conversion import convert, tokenizer_for
from xsam_backend.model.folders import WEIGHTS
from xsam_backend.model.hub import Hub
from xsam_backend.model.released import shard_names
from xsam_backend.model.releases import Release, choose_tokenizer, choose_weights
from xsam_backend.model.version import read_record, verify_weights


def pull(
    hub: Hub,
    repository: str,
    release: Release,
    config: XSamConfig,
    target: Path,
    *,
    revision: str = "main",
    dtype: str = "bfloat16",
) -> bool:
    """Fetch a repository's weights and tokenizer and convert them into ``target``, in place of what is there.

    Args:
        release: where in the repository to look; its variant isn't used here, ``config`` is.
        dtype: number format of the folder, or "stored".

    Returns:
        False where the target holds the same already, and undamaged.

    Raises:
        CheckpointError: files that are not to be had, damaged, or don't fit; what was downloaded is kept.
    """
    listing = hub.listing(repository, revision)
    paths = [file.path for file in listing.files]
    weights = choose_weights(paths, release.subfolder)
    words = choose_tokenizer(paths, weights)
    origin = f"{repository} at {listing.commit}, {weights}, {dtype}"
    if not words:
        if not release.tokenizer:
            raise CheckpointError(f"{repository} has no tokenizer.json: name its language model's with --tokenizer")
        origin += f", tokenizer of {release.tokenizer}"
    if _holds(target, origin, config, hub):
        return False
    hub.say(f"{repository} at {listing.commit[:8]}: {weights}")
    source = hub.fetch(listing, weights)
    if source.name.endswith(".index.json"):
        for shard in shard_names(source):
            hub.fetch(listing, PurePosixPath(weights).with_name(shard).as_posix())
    if not words:
        hub.say(f"tokenizer: {release.tokenizer}")
        listing = hub.listing(release.tokenizer)
        words = choose_tokenizer([file.path for file in listing.files], "")
        if not words:
            raise CheckpointError(f"{release.tokenizer} has no tokenizer.json: name another with --tokenizer")
    tokenizer = [hub.fetch(listing, path) for path in words]
    convert(source, target, config, tokenizer[0].parent, dtype=dtype, origin=origin, replace=True, say=hub.say)
    return True


def _holds(target: Path, origin: str, config: XSamConfig, hub: Hub) -> bool:
    """Whether the target came from there, for that config, and all of it is as it was written then."""
    weights = target / WEIGHTS
    record = read_record(weights) if weights.is_file() else None
    if record is None or record.source != origin:
        return False
    hub.say(f"{target} came from there: comparing its hash")
    try:
        stored = load_config(target)
        rows = stored.language.get("vocab_size")  # may be the file's, padded
        if stored != replace(config, language={**config.language, "vocab_size": rows}):
            raise CheckpointError("it was converted for other sizes")
        tokenizer_for(stored, target)
        verify_weights(weights)
    except CheckpointError as error:
        hub.say(f"converting it again: {error}")
        return False
    return True
