"""Files that services on several machines share, by name, on any filesystem that fsspec knows.

What lies under a name never changes, and the name tells the content's hash, so a copy in a machine's own folder is as
good as the file itself, and what was damaged on the way is noticed. A file is there when it is whole: object stores
see to that themselves, elsewhere it is written beside its place and moved.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import fsspec

from xsam_backend.errors import StoreError
from xsam_backend.whole_files import PARTIAL, move_into_place

logger = logging.getLogger(__name__)

WHOLE_AT_ONCE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss"}
"""Object stores: a name shows nothing, or all that was sent."""


class SharedFiles:
    """A place for files. Safe to use from several threads and machines; not to be taken through a fork.

    Args:
        url: as fsspec takes it, such as ``s3://bucket/folder``. Credentials come from the environment.
        called: the setting or option that names it, for messages.

    Raises:
        StoreError: fsspec knows no such URL, or lacks a package for it; a password in it.
    """

    def __init__(self, url: str, called: str = "artefacts_url") -> None:
        self._called = called
        if urlsplit(url).password:
            raise StoreError(f"{called}: expected no password in it: give credentials by the environment")
        self.url = url.rstrip("/")
        try:
            # Others write there: a listing of a moment ago is of no use.
            self._files, root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise StoreError(f"{called} {self.url}: {error}: install that package beside this one") from error
        except ValueError as error:
            raise StoreError(
                f"{called}: expected a URL that fsspec knows (file://, s3://, gs://), got {self.url}: {error}"
            ) from error
        self._root = str(root).rstrip("/")
        protocols = {self._files.protocol} if isinstance(self._files.protocol, str) else set(self._files.protocol)
        self._is_whole_at_once = bool(protocols & WHOLE_AT_ONCE)

    def try_out(self) -> None:
        """Write a small file, read it and remove it.

        Raises:
            StoreError: one of these can't be done.
        """
        name = f"{self._root}/.tried-{secrets.token_hex(8)}"
        with self._in_words("tried out", name):
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(name, b"tried")
            read = self._files.cat_file(name)
            self._files.rm_file(name)
        if read != b"tried":
            raise StoreError(f"{self.url}: what is written there reads otherwise")

    def put(self, path: Path, name: str) -> None:
        """Have a file's content there under ``name``; nothing is sent where it is already.

        Raises:
            StoreError: it can't be written.
        """
        place = f"{self._root}/{name}"
        with self._in_words("written", place):
            self._files.invalidate_cache()
            if self._files.exists(place) and self._files.size(place) == path.stat().st_size:
                return
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            if self._is_whole_at_once:
                self._files.put_file(str(path), place)
                return
            partial = f"{place}.{secrets.token_hex(4)}{PARTIAL}"
            try:
                self._files.put_file(str(path), partial)
                self._files.mv(partial, place)
            except BaseException:
                with suppress(Exception):
                    self._files.rm_file(partial)
                raise

    def fetch(self, name: str, path: Path, is_right: Callable[[Path], bool]) -> bool:
        """Bring a file to this machine; False where there is none, or a damaged one (the log says so).

        Args:
            is_right: whether the content is what its name says.

        Raises:
            StoreError: it can't be asked for, or the copy can't be written.
        """
        place = f"{self._root}/{name}"
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        try:
            with self._in_words("read", place):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._files.get_file(place, str(partial))
                except FileNotFoundError:
                    return False
                if is_right(partial):
                    move_into_place(partial, path)
                    return True
        finally:
            partial.unlink(missing_ok=True)
        logger.warning("%s/%s is damaged: its content has another hash; put a backup back there", self.url, name)
        return False

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder ("" is the place itself); none where there is no such folder.

        Raises:
            StoreError: it can't be asked for.
        """
        with self._in_words("listed", f"{self._root}/{folder}"):
            self._files.invalidate_cache()
            try:
                listed = self._files.ls(f"{self._root}/{folder}", detail=False)
            except FileNotFoundError:
                return []
            files = (str(one).rstrip("/").rpartition("/")[2] for one in listed)
            return sorted(file for file in files if not file.endswith(PARTIAL))

    def remove(self, folder: str) -> int:
        """Delete a folder's files, if it's there; how many bytes that frees.

        Raises:
            StoreError: they can't be deleted.
        """
        names = [f"{folder}/{file}" for file in self.names(folder)]
        freed = 0
        with self._in_words("deleted", f"{self._root}/{folder}"):
            for name in names:
                freed += self._files.size(f"{self._root}/{name}") or 0
                self._files.rm_file(f"{self._root}/{name}")
            with suppress(OSError, NotImplementedError):  # object stores have no folders
                self._files.rmdir(f"{self._root}/{folder}")
        return freed

    @contextmanager
    def _in_words(self, done: str, place: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each filesystem has errors of its own
            raise StoreError(
                f"{self._called}: {place} can't be {done} ({type(error).__name__}: {error}): are address, "
                "credentials and rights as they should be?"
            ) from error


def shared_files(url: str | None) -> SharedFiles | None:
    """The place that the setting names; None: files stay in the data folder.

    Raises:
        StoreError: see ``SharedFiles``.
    """
    return SharedFiles(url) if url else None
