"""Which pictures a Label Studio task has, and where an export's pictures are found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import DatasetError, ImageError, LabelConfigError, RequestError
from xsam_backend.labelstudio.decoding import decode_image
from xsam_backend.labelstudio.images import ImageSource
from xsam_backend.labelstudio.label_config import LabelConfig

Fetch = Callable[[str, int | None], NDArray[np.uint8]]
"""From an address in a task's data, and the task's id, to uint8 (H, W, 3) RGB; raises ImageError."""

_PICTURE = re.compile(r"data:image/|/data/upload/|.*\.(jpe?g|png|webp|bmp|gif|tiff?)(?=$|[?#])", re.I | re.S)


@dataclass(frozen=True)
class TaskPicture:
    """One picture of a task: its address, the Image tag that shows it, and its place in a list of pictures.

    ``to_name`` and ``item_index`` are None where the task has one picture, so that nothing needs telling apart.
    """

    address: str
    to_name: str | None = None
    item_index: int | None = None


def task_pictures(data: Mapping[str, Any], config: LabelConfig | None) -> list[TaskPicture]:
    """The pictures in a task's data: those that the label config shows, without one the only value like a picture.

    Raises:
        DatasetError: the config reads a field that isn't there; without a config: no such value, or several.
    """
    if config is not None:
        try:
            return list(_shown(data, config))
        except (LabelConfigError, RequestError) as error:
            raise DatasetError(str(error)) from error
    found = {key: value for key, value in data.items() if _is_picture(value)}
    if len(found) != 1:
        raise DatasetError(
            f"expected one address of a picture in the task's data, got {', '.join(found) or 'none'} of "
            f"{', '.join(data) or 'nothing'}: give the project's label config, which says where the picture is"
        )
    (value,) = found.values()
    if isinstance(value, str):
        return [TaskPicture(value)]
    return [TaskPicture(address, None, index) for index, address in enumerate(value)]


def _shown(data: Mapping[str, Any], config: LabelConfig) -> Iterator[TaskPicture]:
    for image in config.images:
        addresses = image.sources(data)
        for index, address in enumerate(addresses):
            yield TaskPicture(
                address,
                image.name if len(config.images) > 1 else None,
                index if image.is_list else None,
            )


def _is_picture(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, str) and _is_picture(one) for one in value)
    return isinstance(value, str) and _PICTURE.match(value.strip()) is not None


@dataclass(frozen=True)
class ExportPictures:
    """Fetches an export's pictures: from a folder with the uploaded files if there is one, else as the service does.

    Attributes:
        folder: holds the pictures, by their file names or by their paths below ``upload`` or the document root.
        source: for everything that isn't in the folder.
    """

    folder: Path | None
    source: ImageSource

    def __call__(self, address: str, task_id: int | None) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB.

        Raises:
            ImageError: it may not be had or cannot be read.
        """
        path = self._in_folder(address)
        if path is None:
            return self.source.fetch(address, task_id).pixels
        try:
            return decode_image(path.read_bytes(), max_pixels=self.source.policy.max_pixels)[0]
        except (OSError, ImageError) as error:
            raise ImageError(f"{path}: {error}") from error

    def _in_folder(self, address: str) -> Path | None:
        """The file that an address means, never one outside of the folder."""
        if self.folder is None or address[:5].lower() == "data:":
            return None
        try:
            parts = urlsplit(address.strip())
        except ValueError:  # no address, so none of a file
            return None
        named = parse_qs(parts.query).get("d", [""])[-1] or unquote(parts.path)
        below = PurePosixPath(named.lstrip("/").removeprefix("data/").removeprefix("upload/"))
        root = self.folder.resolve()
        for candidate in (root / below, root / below.name):
            resolved = candidate.resolve()
            if resolved.is_relative_to(root) and resolved.is_file():
                return resolved
        return None
