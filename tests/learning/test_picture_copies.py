"""The pictures of annotated tasks are copied, and tried again where that fails."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from learning_parts import KEY, Parts
from PIL import Image

from xsam_backend.errors import ImageError
from xsam_backend.learning.picture_copies import PictureCopies
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.tasks import TaskPicture


def jpeg_on_its_side() -> bytes:
    """40 x 20 stored pixels that are to be shown as 20 x 40."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


class Addresses:
    max_pixels = 10_000

    def __init__(self, **found: bytes) -> None:
        self.found = found

    def read(self, url: str, task_id: int | None = None) -> bytes:
        if url not in self.found:
            raise ImageError(f"{url}: HTTP 404")
        return self.found[url]


@pytest.fixture
def files(tmp_path: Path) -> PictureFiles:
    return PictureFiles(tmp_path / "pictures")


def test_a_copy_is_the_very_file_and_its_size_is_what_annotators_saw(
    parts: Parts, files: PictureFiles, tmp_path: Path
) -> None:
    encoded = jpeg_on_its_side()
    parts.tasks.know(KEY, 114, [TaskPicture("image", None, "a"), TaskPicture("image", 1, "b")])
    done = list(PictureCopies(parts.tasks, files, Addresses(a=encoded)).copy_due())
    assert [problem for _, problem in done] == ["b: HTTP 404"]
    first, second = parts.tasks.of_project(KEY)[0].pictures
    assert first.sha256 is not None
    kept = tmp_path / "pictures" / first.sha256[:2] / first.sha256
    assert kept.read_bytes() == encoded
    assert (first.size_hw, first.address, second.address) == ((40, 20), None, "b")


def test_a_picture_that_comes_back_is_copied_then(parts: Parts, files: PictureFiles) -> None:
    addresses = Addresses()
    copies = PictureCopies(parts.tasks, files, addresses)
    parts.tasks.know(KEY, 114, [TaskPicture("image", None, "a")])
    assert [problem for _, problem in copies.copy_due()] == ["a: HTTP 404"]
    assert list(copies.copy_due()) == [], "not at once"
    addresses.found["a"] = jpeg_on_its_side()
    parts.tasks.try_again(KEY)
    assert [problem for _, problem in copies.copy_due()] == [""]
    assert parts.tasks.count_lacking() == 0


@pytest.mark.parametrize("encoded", [b"no picture", b""])
def test_what_is_no_picture_is_not_kept(parts: Parts, files: PictureFiles, tmp_path: Path, encoded: bytes) -> None:
    parts.tasks.know(KEY, 114, [TaskPicture("image", None, "https://host/a.png?signature=xyz")])
    copies = PictureCopies(parts.tasks, files, Addresses(**{"https://host/a.png?signature=xyz": encoded}))
    ((_, problem),) = copies.copy_due()
    assert "host" in problem
    assert "xyz" not in problem
    assert not (tmp_path / "pictures").exists()
