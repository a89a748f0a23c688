"""Where models lie on disk, and by which names: nothing of it is read here."""

from __future__ import annotations

import re
from pathlib import Path

from xsam_backend.errors import CheckpointError

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
SHIPPED = Path(__file__).parent

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
"""The name of a model repository."""

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
"""Of a model in the models folder; begins with no dot, so that half-made ones are none and nothing leads outside."""


def model_folder(name_or_path: str, models: Path | None = None) -> Path:
    """The folder of a model: ``tiny``, the shipped one; a name in the models folder; or a folder itself.

    Args:
        models: where pulled models lie by their names.

    Raises:
        CheckpointError: none of these; says how to get what was meant.
    """
    if name_or_path == "tiny":
        return SHIPPED / "tiny"
    if models is not None and _NAME.fullmatch(name_or_path) and (models / name_or_path / CONFIG).is_file():
        return models / name_or_path
    path = Path(name_or_path)
    if path.is_dir() and (path / CONFIG).is_file():
        return path
    if path.exists():
        raise CheckpointError(
            f"{path}: expected a folder with {CONFIG} and {WEIGHTS}; if it is a released checkpoint, convert it: "
            f"xsam-backend models convert {path} FOLDER"
        )
    if REPOSITORY.fullmatch(name_or_path):
        raise CheckpointError(
            f"no model {name_or_path!r} on this machine: fetch it with: xsam-backend models pull {name_or_path}"
        )
    raise CheckpointError(
        f"no model {name_or_path!r}: expected 'tiny', a name that `xsam-backend models list` shows, or a folder with "
        f"{CONFIG} and {WEIGHTS}"
    )


def folders_by_name(models: Path) -> dict[str, Path]:
    """Name and folder of each model that is there: the shipped one, then those of the models folder by name."""
    found = {"tiny": SHIPPED / "tiny"}
    for config in sorted([*models.glob(f"*/{CONFIG}"), *models.glob(f"*/*/{CONFIG}")]):
        name = config.parent.relative_to(models).as_posix()
        if _NAME.fullmatch(name) and (config.parent / WEIGHTS).is_file():
            found[name] = config.parent
    return found
