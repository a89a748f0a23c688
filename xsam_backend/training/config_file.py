"""Training configs from TOML files; mistakes are told with the key, what came and what is allowed.

Three configs ship in ``configs/``, by name: ``tiny``, ``released`` and ``paper``.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xsam_backend.errors import SettingsError
from xsam_backend.training.config import DatasetData, PhotoData, Questions, SceneData, StageConfig, Table, TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED_CONFIGS = Path(__file__).parent / "configs"


def config_path(name_or_path: str) -> Path:
    """A shipped config by its name, or a file.

    Raises:
        SettingsError: neither.
    """
    shipped = SHIPPED_CONFIGS / f"{name_or_path}.toml"
    path = shipped if shipped.is_file() else Path(name_or_path)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in SHIPPED_CONFIGS.glob("*.toml")))
        raise SettingsError(f"no training config {name_or_path!r}: expected a TOML file, or one of {names}")
    return path


def load_train_config(path: Path, **given: Any) -> TrainConfig:
    """The file's config, with ``given`` values (None: not given) in place of its own.

    Raises:
        SettingsError: no TOML, or keys that are unknown, missing or of another value: each with what came and what is
            allowed.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:  # also a number of thousands of digits
        raise SettingsError(f"{path}: expected a training config in TOML: {error}") from error
    try:
        return TrainConfig.model_validate(content | {key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        lines = [_wording(problem, content) for problem in error.errors(include_url=False)]
        raise SettingsError(f"{path} does not work:\n" + "\n".join(f"  {line}" for line in lines)) from None


def _wording(problem: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """One mistake: the key, what came, what is allowed."""
    loc, kind = problem["loc"], problem["type"]
    key = _key(loc, content)
    fields = _model_of(loc).model_fields
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(loc[-1]), fields, n=1)
        return f"{key}: no such key; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}")
    if kind == "missing" and loc[-1] in fields:
        return f"{key}: missing. {fields[loc[-1]].description}"
    if kind == "value_error":
        return f"{key}: {problem['ctx']['error']}".removeprefix(": ")
    if kind.startswith("union_tag"):
        return f"{key}: kind: expected photos, dataset or scenes, got {problem['input'].get('kind', 'none')!r}"
    return f"{key}: {problem['msg'].replace('Input should', 'should')}, got {problem['input']!r}"


_TABLES: Mapping[str, type[Table]] = {
    "photos": PhotoData,
    "dataset": DatasetData,
    "scenes": SceneData,
    "questions": Questions,
    "stages": StageConfig,
}


def _model_of(loc: tuple[int | str, ...]) -> type[Table]:
    """The table that a key belongs to."""
    names = [name for name in loc[:-1] if name in _TABLES]
    return _TABLES[str(names[-1])] if names else TrainConfig


def _key(loc: tuple[int | str, ...], content: Mapping[str, Any]) -> str:
    """A key as the file's reader finds it: ``stages 'mixed' steps``."""
    words: list[str] = []
    at: Any = content
    for number, step in enumerate(loc):
        if number == 2 and loc[0] == "data" and step in _TABLES:
            continue  # pydantic names the kind of a data part as if it were a key
        try:
            at = at[step]
        except (KeyError, IndexError, TypeError):
            at = None
        if isinstance(step, str):
            words.append(step)
        elif isinstance(at, Mapping) and "name" in at:
            words.append(repr(at["name"]))
        else:
            words.append(f"number {step + 1}")
    return " ".join(words)
