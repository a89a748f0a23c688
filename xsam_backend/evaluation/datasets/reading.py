"""Files of data sets: their JSON, their pictures, and where the pictures lie. Every failure is a DatasetError."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xsam_backend.errors import DatasetError, ImageError
from xsam_backend.labelstudio.decoding import decode_image

MOST_PIXELS = 180_000_000
"""Of a picture: a few hundred bytes can promise more than fits into memory."""


def read_json(path: Path, encoding: str = "utf-8") -> Any:
    """The content of a JSON file.

    Raises:
        DatasetError: it is missing, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding))
    except FileNotFoundError as error:
        raise DatasetError(f"expected {path}, it isn't there: check the path to the data") from error
    except OSError as error:
        raise DatasetError(f"{path}: expected a JSON file, it can't be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: expected JSON, got {error}") from error


def read_rgb(path: Path, size_hw: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB, upright, as the service reads pictures.

    Raises:
        DatasetError: missing, no picture, or not of the size that its labels were made for.
    """
    _check_is_file(path)
    try:
        picture, _ = decode_image(path.read_bytes(), max_pixels=MOST_PIXELS)
    except (OSError, ImageError) as error:
        raise DatasetError(f"{path}: expected a picture: {error}") from error
    if size_hw is not None and picture.shape[:2] != size_hw:
        raise DatasetError(
            f"{path}: expected (height, width) {size_hw} as in its labels, got {picture.shape[:2]} "
            "after turning it upright: the file is not the one that was labelled"
        )
    return picture


def read_label_map(path: Path, mode: str, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 (H, W) or (H, W, 3): a PNG whose values are ids, taken as they are stored.

    Args:
        path: the PNG.
        mode: Pillow's name for how it must be stored: "L" for one byte (a palette's indices pass too), "RGB".
        size_hw: the picture's (height, width).

    Raises:
        DatasetError: missing, no picture, stored otherwise, or of another size.
    """
    _check_is_file(path)
    try:
        with Image.open(path, formats=("PNG",)) as image:
            stored = image.mode
            values = np.asarray(image)
    except Exception as error:  # a broken file raises whatever its bytes lead to
        raise DatasetError(f"{path}: expected a PNG with ids, got {error}: fetch the data again") from error
    if stored != mode and not (mode == "L" and stored == "P"):
        raise DatasetError(f"{path}: expected a PNG of mode {mode} whose values are ids, got mode {stored}")
    if values.shape[:2] != size_hw:
        raise DatasetError(f"{path}: expected (height, width) {size_hw} as its picture, got {values.shape[:2]}")
    return values


def _check_is_file(path: Path) -> None:
    """Names come from the data: ``/dev/zero`` would be read until memory ends, a pipe until somebody writes."""
    if os.path.exists(path) and not os.path.isfile(path):  # unlike Path's, they take names that can't be
        raise DatasetError(f"{path}: expected a picture's file, it is something else")


@contextmanager
def in_format(path: Path | str, expected: str) -> Iterator[None]:
    """What goes wrong inside because data aren't in the expected format becomes a DatasetError that says so.

    ``path`` is the file that they are from, or words for where else.
    """
    try:
        yield
    except KeyError as error:
        raise DatasetError(f"{path}: {error} is missing or unknown: expected {expected}") from error
    except (TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise DatasetError(f"{path}: expected {expected}, got something else ({error})") from error


def picture_folder(given: Path | None, candidates: Iterable[Path], names: Sequence[str]) -> Path:
    """The folder that holds pictures of these names: the given one, else the first candidate that does.

    One of a few names must be there; single pictures may be missing until they are read.

    Raises:
        DatasetError: none does; it lists the folders.
    """
    folders = [given] if given is not None else list(dict.fromkeys(candidates))
    few = names[:: max(1, len(names) // 20)]
    for folder in folders:
        if any(os.path.isfile(folder / name) for name in few):
            return folder
    if not few:
        return folders[0]
    tried = ", ".join(str(folder) for folder in folders)
    raise DatasetError(
        f"expected pictures such as {few[0]} in {tried}, found none: "
        + ("check the folder of pictures" if given is not None else "say in which folder they lie (images)")
    )
