"""Copying the pictures of annotated tasks, so that a vanished address can't break what was learned from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from xsam_backend.errors import ImageError
from xsam_backend.labelstudio.decoding import decode_image
from xsam_backend.labelstudio.egress import redacted
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.tasks import KeptTask, TaskPicture, Tasks


class EncodedImages(Protocol):
    """What is needed of :class:`~xsam_backend.labelstudio.images.ImageSource`."""

    def read(self, url: str, task_id: int | None = None) -> bytes:
        """The encoded picture behind a task's value."""

    @property
    def max_pixels(self) -> int:
        """Larger pictures are refused."""


class PictureCopies:
    """Copies what tasks lack. An address that fails is tried again later, less and less often."""

    def __init__(self, tasks: Tasks, files: PictureFiles, images: EncodedImages) -> None:
        self._tasks = tasks
        self._files = files
        self._images = images

    def copy_due(self) -> Iterator[tuple[KeptTask, str]]:
        """Try each task that is due: it comes out with the reason why a picture still lacks, "" where none does.

        Raises:
            StoreError: a picture or the database cannot be written. Nothing is lost: it's still due.
        """
        while due := self._tasks.lacking():
            for task in due:
                pictures = tuple(self._copied(picture, task) for picture in task.pictures)
                self._tasks.copied(task, pictures)
                problem = next((picture.problem for picture in pictures if picture.sha256 is None), None)
                yield task, problem or ""

    def _copied(self, picture: TaskPicture, task: KeptTask) -> TaskPicture:
        if picture.sha256 is not None or picture.address is None:
            return picture
        try:
            encoded = self._images.read(picture.address, task.task_id)
        except ImageError as error:
            return replace(picture, problem=str(error))
        try:
            pixels, _ = decode_image(encoded, max_pixels=self._images.max_pixels)
        except ImageError as error:
            return replace(picture, problem=f"{redacted(picture.address)}: {error}")
        sha256 = self._files.put(encoded)
        return replace(picture, sha256=sha256, size_hw=(pixels.shape[0], pixels.shape[1]), problem="")
