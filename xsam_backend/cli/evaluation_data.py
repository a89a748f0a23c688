"""What ``evaluate`` is told to measure on: paths with options of their own behind commas, opened as data sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from xsam_backend.config import Settings
from xsam_backend.errors import DatasetError, SettingsError
from xsam_backend.evaluation.datasets.label_studio import open_project
from xsam_backend.evaluation.datasets.opening import FORMATS, open_dataset
from xsam_backend.evaluation.datasets.reading import read_json
from xsam_backend.evaluation.datasets.recognition import formats_of_content
from xsam_backend.evaluation.datasets.records import PROMPT_KINDS, Dataset, PromptKind
from xsam_backend.labelstudio.images import ImageSource
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.server.outside import fetch_policy, label_studio_client

PROJECT = re.compile(r"project:(\d+)")
"""In place of a path: a project of the Label Studio that is set up."""

BRINGS_PROMPTS = frozenset(name for name, form in FORMATS.items() if "prompts" in form.takes)


@dataclass(frozen=True)
class Spec:
    """One data set and what is asked of it; None where nothing was said.

    ``tasks`` and ``prompts`` are several names with + between them.
    """

    path: str
    format: str | None = None
    split: str | None = None
    only: str | None = None
    images: Path | None = None
    limit: int | None = None
    tasks: tuple[str, ...] | None = None
    prompts: tuple[PromptKind, ...] | None = None
    objects: int | None = None
    least_px: int | None = None
    max_detections: int | None = None

    def or_else(self, usual: Mapping[str, Any]) -> Spec:
        """With values for what was left open; None and empty ones say nothing."""
        return replace(self, **{k: v for k, v in usual.items() if getattr(self, k) is None and v not in (None, ())})


def _names(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split("+") if part)


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise ValueError(f"expected {least} or more, got {value}")
        return value

    return number


def prompt_kinds(text: str) -> tuple[PromptKind, ...]:
    """Kinds of prompts from their names.

    Raises:
        ValueError: an unknown kind.
    """
    kinds = tuple(kind for kind in PROMPT_KINDS if kind in _names(text))
    if not kinds or len(kinds) != len(set(_names(text))):
        raise ValueError(f"expected one or more of {', '.join(PROMPT_KINDS)}, got '{text}'")
    return kinds


_READERS: Mapping[str, Callable[[str], Any]] = {
    "format": str,
    "split": str,
    "only": str,
    "images": Path,
    "limit": _at_least(1),
    "tasks": _names,
    "prompts": prompt_kinds,
    "objects": _at_least(0),
    "least-px": _at_least(0),
    "max-detections": _at_least(1),
}
assert {name.replace("-", "_") for name in _READERS} == {field.name for field in fields(Spec)} - {"path"}

# A comma in a folder's name is no option: only what follows it tells.
_OPTION = re.compile(rf",({'|'.join(_READERS)})=")


class DatasetSpec(click.ParamType[Spec]):
    """``PATH[,key=value]...``, such as ``photos,split=val,least-px=1000``."""

    name = "DATASET"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Spec:
        """Text to a spec; misuse with an example otherwise."""
        if isinstance(value, Spec):
            return value
        path, *options = _OPTION.split(str(value))
        given: dict[str, Any] = {}
        for key, text in zip(options[::2], options[1::2], strict=True):
            try:
                given[key.replace("-", "_")] = _READERS[key](text)
            except ValueError as error:
                self.fail(f"{value}: {key}: {error}", param, ctx)
        if not path:
            self.fail(f"expected a path before the first comma, such as photos,split=val, got '{value}'", param, ctx)
        return Spec(path, **given)


@dataclass(frozen=True)
class Opened:
    """A data set with its spec; ``own_prompts`` if it brings prompts of that kind."""

    dataset: Dataset
    spec: Spec
    own_prompts: PromptKind | None = None


def opened(spec: Spec, settings: Settings, label_config: LabelConfig | None) -> Iterator[Opened]:
    """The data set of a spec; of one that brings its own prompts, one for each kind that is wanted.

    Raises:
        DatasetError: it can't be opened, or an option means nothing to it.
        SettingsError: a project, without address or token of a Label Studio.
        LabelStudioError: that Label Studio can't be reached or refuses.
    """
    project = PROJECT.fullmatch(spec.path)
    if project:
        yield Opened(_project(int(project[1]), spec, settings), spec)
        return
    formats = [spec.format] if spec.format else _formats_of_list(Path(spec.path).expanduser())
    common: dict[str, Any] = {
        "split": spec.split,
        "only": spec.only,
        "images": spec.images,
        "limit": spec.limit,
    }
    if formats == ["label-studio"]:
        common |= {"label_config": label_config, "image_source": ImageSource(fetch_policy(settings))}
    if formats and set(formats) <= BRINGS_PROMPTS:
        for kind in spec.prompts or PROMPT_KINDS:
            yield Opened(open_dataset(spec.path, spec.format, prompts=kind, **common), spec, kind)
        return
    yield Opened(open_dataset(spec.path, spec.format, **common), spec)


def _project(number: int, spec: Spec, settings: Settings) -> Dataset:
    useless = [name for name in ("format", "split", "only", "images") if getattr(spec, name) is not None]
    if useless:
        raise DatasetError(f"{', '.join(useless)} means nothing to a project of Label Studio: leave it out")
    client = label_studio_client(settings)
    if client is None:
        raise SettingsError(
            f"project:{number} needs a Label Studio: set XSAM_BACKEND_LABEL_STUDIO_URL and "
            "XSAM_BACKEND_LABEL_STUDIO_TOKEN"
        )
    return open_project(client, ImageSource(fetch_policy(settings)), number).limited(spec.limit)


def _formats_of_list(path: Path) -> list[str]:
    """What a JSON file that holds a list may be: formats that need more than a path are among those."""
    if path.suffix != ".json" or not path.is_file():
        return []
    with path.open("rb") as file:
        if not file.read(64).lstrip().startswith(b"["):
            return []
    return formats_of_content(path, read_json(path))
