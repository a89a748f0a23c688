"""Pre-labelling the pictures of a folder or a bucket into files that Label Studio imports, one for each block.

``manifest.json`` is written first and says which pictures there are, in which blocks, and what answers: a block is
done when its file is there, and a later run with the same options goes on with the others. A file appears as a whole.

What is no picture is written down as such, and stays so. What else goes wrong may pass (the bucket, memory, the
database): it is tried again, and if it doesn't pass the run ends and the block is left for the next one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import fsspec

from xsam_backend.config import Settings
from xsam_backend.errors import ImageError, JobError, SettingsError, StoreError, XSamBackendError
from xsam_backend.labelstudio.context import batch_prompts
from xsam_backend.labelstudio.decoding import decode_image
from xsam_backend.labelstudio.images import FetchedImage
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.recent_images import Images
from xsam_backend.prelabelling.answering import Answering, load
from xsam_backend.prelabelling.blocks import Block, Done, divided
from xsam_backend.prelabelling.in_step import answered_ahead
from xsam_backend.server.protocol import TaskItem
from xsam_backend.store.shared_files import SharedFiles

logger = logging.getLogger(__name__)

AGAIN_AFTER_S = (1.0, 5.0, 20.0)
"""What may pass is waited for so long."""

_PASSWORD = re.compile(r"://[^/?#]*:[^/?#]*@")

MANIFEST = "manifest.json"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LOCAL_FILES = "/data/local-files/?d="
"""Beginning of the addresses by which Label Studio shows files below its document root."""


@dataclass(frozen=True)
class FolderWork:
    """The pictures of one place.

    Attributes:
        version: that answers; None: the base model.
        label_config: XML; what is looked for, and the form of what is found.
        source, output: URLs as fsspec takes them; local paths are ``file://``.
        prefix: what pictures' addresses begin with, in the files that are written.
    """

    settings: Settings
    version: str | None
    label_config: str
    source: str
    output: str
    prefix: str

    def blocks(self, size: int) -> tuple[list[Block], int]:
        """Those that aren't done, and how many there are in all. The manifest is written if there is none.

        Args:
            size: of a block, in pictures; a run that was begun keeps its own.

        Raises:
            SettingsError: the output is another run's, or the source has no picture, or a password in its address.
            StoreError: source or output can't be reached.
            LabelConfigError: nothing can be pre-labelled with the config.
        """
        if _PASSWORD.search(self.source):  # it would stand in the manifest, and in the address of each task
            raise SettingsError("the source: expected no password in it: give credentials by the environment")
        config = LabelConfig.parse(self.label_config)
        batch_prompts(config)
        output = SharedFiles(self.output, "--output")
        done = set(output.names(""))
        if MANIFEST in done:
            manifest = self._read(output)
            if manifest["run"] != self._run:
                changed = sorted(name for name, value in self._run.items() if manifest["run"].get(name) != value)
                raise SettingsError(
                    f"{self.output} holds a run with another {', '.join(changed)}: give the same options to go on "
                    "with it, or another --output"
                )
        else:
            manifest = {"run": self._run, "block": size, "pictures": self._pictures()}
            _write(output, MANIFEST, manifest)
        blocks = divided(manifest["pictures"], manifest["block"])
        return [block for block in blocks if _name(block.number) not in done], len(blocks)

    @property
    def _run(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "prefix": self.prefix,
            "model": self.settings.model,
            "version": self.version,
            "label_config": hashlib.sha256(self.label_config.encode()).hexdigest(),
        }

    def _read(self, output: SharedFiles) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / MANIFEST
            if not output.fetch(MANIFEST, path, lambda _file: True):
                raise StoreError(f"{self.output}/{MANIFEST} is gone")
            read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return read

    def _pictures(self) -> list[str]:
        files, root = _opened(self.source)
        try:
            found = [str(path)[len(root) :].lstrip("/") for path in files.find(root)]
        except Exception as error:  # each filesystem has errors of its own
            raise StoreError(f"{self.source} can't be listed ({type(error).__name__}: {error})") from error
        pictures = sorted(name for name in found if name.lower().endswith(PICTURES))
        if not pictures:
            raise SettingsError(f"{self.source}: expected pictures ({', '.join(PICTURES)}), found none")
        return pictures

    def address(self, name: str) -> str:
        """A picture's address, as a task of Label Studio has it."""
        return self.prefix + (quote(name) if "?" in self.prefix else name)

    def name(self, address: str) -> str:
        """The picture of an address."""
        name = address.removeprefix(self.prefix)
        return unquote(name) if "?" in self.prefix else name

    def opened(self) -> Callable[[Block], Done]:
        """See :class:`~xsam_backend.prelabelling.blocks.Work`."""
        answering = Answering(self.settings, load(self.settings, self.version), _FolderImages(self))
        return _Writer(self, answering)


class _FolderImages:
    """A folder's pictures by their addresses; see :class:`~xsam_backend.labelstudio.recent_images.Images`."""

    def __init__(self, work: FolderWork) -> None:
        self._work = work
        self._settings = work.settings
        _opened(work.source)  # what is no source fails before the first picture

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        """Raises ImageError: it is no picture, or too large. StoreError: it can't be had now."""
        name = self._work.name(url)
        files, root = _opened(self._work.source)  # fsspec keeps one for each thread: some can't serve two (FTP)
        place = f"{root}/{name}"
        try:
            size = files.size(place) or 0
            if size > self._settings.image_max_mb * 2**20:
                raise ImageError(f"{name}: {size:,} bytes: shrink it, or raise image_max_mb")
            encoded: bytes = files.cat_file(place)
        except ImageError:
            raise
        except Exception as error:  # each filesystem has errors of its own
            raise StoreError(f"{name} can't be read ({type(error).__name__}: {error})") from error
        try:
            pixels, kind = decode_image(encoded, max_pixels=self._settings.image_max_megapixels * 1_000_000)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error
        return FetchedImage(pixels, hashlib.sha256(encoded).hexdigest(), (pixels.shape[0], pixels.shape[1]), kind)


class _Writer:
    def __init__(self, work: FolderWork, answering: Answering) -> None:
        self._work, self._answering = work, answering
        self._config = LabelConfig.parse(work.label_config)
        self._key = self._config.image().value.lstrip("$")
        self._output = SharedFiles(work.output, "--output")

    def __call__(self, block: Block) -> Done:
        tasks = [TaskItem(None, {self._key: self._work.address(str(name))}) for name in block.items]
        written: list[Mapping[str, Any]] = []
        problems: list[str] = []
        with self._answering.fetching(tasks, self._config) as images:
            answer = partial(self._prediction, images)
            with answered_ahead(answer, tasks) as answers:
                for task, first in answers:
                    try:
                        prediction = self._patiently(task, first.result, partial(answer, task))
                    except ImageError as error:
                        problems.append(str(error))
                    else:
                        written.append({"data": task.data, "predictions": [prediction]})
        if problems:
            _write(self._output, f"failed-{block.number:05}.json", problems)
        _write(self._output, _name(block.number), written)  # last: with it the block is done
        return Done(block.number, len(written), 0, tuple(problems))

    def _prediction(self, images: Images, task: TaskItem) -> dict[str, Any]:
        return self._answering.prediction(None, task, self._config, images)

    def _patiently(
        self, task: TaskItem, first: Callable[[], dict[str, Any]], again: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """The first answer, or a later one where what went wrong passes."""
        answer = first
        for wait_s in (*AGAIN_AFTER_S, None):
            try:
                return answer()
            except ImageError:
                raise
            except XSamBackendError as error:
                address = task.data[self._key]
                if wait_s is None:
                    raise JobError(
                        f"{address}: {type(error).__name__}: {error}; the run ends here, what is written stays: when "
                        "that is mended, the same command goes on"
                    ) from error
                logger.warning("%s: %s: again in %.0f s", address, error, wait_s)
                time.sleep(wait_s)
            answer = again
        raise AssertionError("the last try has no wait")


def _name(number: int) -> str:
    return f"tasks-{number:05}.json"


def _write(output: SharedFiles, name: str, value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(json.dumps(value), encoding="utf-8")
        output.put(path, name)


def _opened(url: str) -> tuple[Any, str]:
    try:
        files, root = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SettingsError(f"{url}: expected a folder, or a URL that fsspec knows: {error}") from error
    return files, str(root).rstrip("/")
