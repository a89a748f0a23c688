"""Which weights a folder holds: the same weights are the same version, wherever they came from.

Reading 9 GB at each start to hash them would undo what mapping them saves. So a hash that was taken is kept in
``weights.json`` beside them, and believed as long as the file has the size and the time of change that it had then.
Functions here take the weights file's path.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from xsam_backend.errors import CheckpointError

logger = logging.getLogger(__name__)

RECORD = "weights.json"


@dataclass(frozen=True)
class WeightsRecord:
    """What was noted of a weights file.

    Attributes:
        sha256: of its content.
        size: bytes.
        mtime_ns: when it was changed last, nanoseconds.
        source: where the weights came from, for people.
    """

    sha256: str
    size: int
    mtime_ns: int
    source: str = ""


def weights_sha256(weights: Path) -> str:
    """SHA-256 of the weights: the recorded one, or, where the file isn't as it was then, taken anew."""
    record, stat = read_record(weights), weights.stat()
    if record is not None and (record.size, record.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return record.sha256
    found = hash_file(weights)
    if record is not None and record.sha256 == found:
        with contextlib.suppress(OSError):  # copied since: the record is right, but the folder may be read-only
            write_record(weights, found, record.source)
    elif record is not None:
        logger.warning("%s: these are not the weights that %s was written for", weights, RECORD)
    return found


def hash_file(weights: Path) -> str:
    """SHA-256 of the weights as they are now; reads the whole file.

    Raises:
        CheckpointError: it can't be read.
    """
    digest = hashlib.sha256()
    try:
        with weights.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise CheckpointError(
            f"{weights}: cannot be read ({error}): is the disk well, and may this user read the file?"
        ) from error
    return digest.hexdigest()


def write_record(weights: Path, sha256: str, source: str) -> None:
    """Note the hash of the weights as they are now; the note appears whole or not at all."""
    stat = weights.stat()
    record = WeightsRecord(sha256, stat.st_size, stat.st_mtime_ns, source)
    draft = weights.with_name(f".{RECORD}-{os.getpid()}")
    try:
        draft.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
        draft.replace(weights.with_name(RECORD))
    finally:
        draft.unlink(missing_ok=True)


def read_record(weights: Path) -> WeightsRecord | None:
    """What was noted; None where nothing was, or nothing that can be read."""
    try:
        return WeightsRecord(**json.loads(weights.with_name(RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def verify_weights(weights: Path) -> str:
    """The hash of the whole file, compared with the record.

    Raises:
        CheckpointError: no record, or other weights than recorded.
    """
    record, found = read_record(weights), hash_file(weights)
    if record is None:
        raise CheckpointError(f"{weights}: no {RECORD} to compare with; the SHA-256 is {found}")
    if record.sha256 != found:
        raise CheckpointError(
            f"{weights}: not the weights that were converted: expected SHA-256 {record.sha256}, got {found}: pull or "
            "convert them again"
        )
    return found
