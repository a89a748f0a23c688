"""Files of a model repository by name, through huggingface_hub: into its cache, resumed, compared with their hashes.

The client downloads a large file anew when its process was stopped. So the bytes of large files are kept beside its
blobs, under a name of ours, until they are complete and their SHA-256 is right; the client then finds the blob. Its
variables (HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, ...) are its own business and mean what they always mean.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import CacheNotFound
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

from xsam_backend.errors import CheckpointError
from xsam_backend.model.hub_errors import worded

logger = logging.getLogger(__name__)

PARTIAL = ".xsam-backend.incomplete"
"""Ends the name of a blob that isn't complete; ``hf cache prune`` knows such files by the last part."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository and what is known of its content before it is read.

    Attributes:
        path: inside the repository, with slashes.
        size: bytes.
        sha256: of the content; None where the hub keeps the file in git itself (small ones).
        git_blob: git's SHA-1 of the content; None where ``sha256`` is given.
    """

    path: str
    size: int
    sha256: str | None = None
    git_blob: str | None = None


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit."""

    repository: str
    commit: str
    files: tuple[HubFile, ...]

    def file(self, path: str) -> HubFile:
        """The file of that path. Raises CheckpointError where there is none."""
        found = next((file for file in self.files if file.path == path), None)
        if found is None:
            raise CheckpointError(
                f"{self.repository} at {self.commit[:8]}: expected {path}, there is none: is the repository complete "
                "(or, without network, the cache)?"
            )
        return found


@dataclass(frozen=True)
class Hub:
    """Where files are asked for, and where they are kept.

    Attributes:
        endpoint: address of a mirror; None: the client's own (HF_ENDPOINT).
        offline: look into the cache only; set, too, by HF_HUB_OFFLINE.
        cache_dir: None: the client's own (HF_HOME, HF_HUB_CACHE).
        say: told in words what takes long.
    """

    endpoint: str | None = None
    offline: bool = False
    cache_dir: Path | None = None
    say: Callable[[str], None] = logger.info

    @property
    def is_offline(self) -> bool:
        """Whether nothing may be asked of the network."""
        return self.offline or huggingface_hub.is_offline_mode()

    @property
    def address(self) -> str:
        """Whom we ask."""
        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    @property
    def cache(self) -> Path:
        """The folder where files are kept."""
        return (self.cache_dir or Path(constants.HF_HUB_CACHE)).expanduser()

    def listing(self, repository: str, revision: str = "main") -> Listing:
        """The files of a branch, tag or commit; offline, those of them that are in the cache.

        Raises:
            CheckpointError: no such repository or revision, no permission, no network; or, offline, nothing cached.
        """
        if self.is_offline:
            return self._cached_listing(repository, revision)
        with worded(self.address, repository, revision):
            api = huggingface_hub.HfApi(endpoint=self.endpoint)
            commit = api.repo_info(repository, revision=revision).sha
            if commit is None:
                raise CheckpointError(f"{self.address} names no commit for {repository}: is it a mirror of the hub?")
            tree = api.list_repo_tree(repository, recursive=True, revision=commit)
            files = tuple(
                HubFile(entry.path, entry.lfs.size, sha256=entry.lfs.sha256)
                if entry.lfs
                else HubFile(entry.path, entry.size, git_blob=entry.blob_id)
                for entry in tree
                if isinstance(entry, RepoFile)
            )
        self._remember(repository, revision, commit)
        return Listing(repository, commit, files)

    def fetch(self, listing: Listing, path: str) -> Path:
        """A file in the cache whose content is the listed one; downloaded, or the rest of it, where it isn't there.

        A damaged one is removed, and asked for once more if it came from the cache.

        Raises:
            CheckpointError: not to be had, interrupted, damaged, or no room for it.
        """
        file = listing.file(path)
        cached = huggingface_hub.try_to_load_from_cache(
            listing.repository, path, cache_dir=self.cache, revision=listing.commit
        )
        if isinstance(cached, str):
            fault = self._fault(Path(cached), file)
            if fault is None:
                return Path(cached)
            _remove(Path(cached))
            if self.is_offline:
                raise CheckpointError(
                    f"{path} of {listing.repository} in the cache is damaged ({fault}); it was removed: run the "
                    "command once with network"
                )
            self.say(f"{path} in the cache is damaged ({fault}): fetching it again")
        with worded(self.address, listing.repository, listing.commit):
            if file.sha256 is not None and not self.is_offline:
                self._complete_blob(listing, file)
            found = Path(
                huggingface_hub.hf_hub_download(
                    listing.repository,
                    path,
                    revision=listing.commit,
                    cache_dir=self.cache,
                    endpoint=self.endpoint,
                    local_files_only=self.is_offline,
                )
            )
        # A large one was compared before it became a blob.
        fault = self._fault(found, file) if file.sha256 is None else None
        if fault is not None:
            _remove(found)
            raise self._damaged(listing.repository, path, fault)
        return found

    def _complete_blob(self, listing: Listing, file: HubFile) -> None:
        """Download what is missing of a large file, compare it, and give it to the client's cache."""
        assert file.sha256 is not None
        blob = self._folder(listing.repository) / "blobs" / file.sha256
        partial = blob.with_name(blob.name + PARTIAL)
        partial.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(partial.with_name(partial.name + ".lock")):
            if blob.is_file():
                return
            have = partial.stat().st_size if partial.is_file() else 0
            if have > file.size:
                partial.unlink()
                have = 0
            _require_room(partial.parent, file.size - have, file.path)
            if 0 < have < file.size:
                self.say(f"{file.path}: going on at {have:,} of {file.size:,} bytes")
            address = huggingface_hub.hf_hub_url(
                listing.repository, file.path, revision=listing.commit, endpoint=self.endpoint
            )
            # Not compressed, or a range would count other bytes than the file's.
            headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
            with partial.open("ab") as stream:
                http_get(
                    address,
                    stream,
                    resume_size=have,
                    headers=headers,
                    expected_size=file.size,
                    displayed_filename=file.path.rpartition("/")[2],
                )
            fault = self._fault(partial, file)
            if fault is not None:
                partial.unlink()
                raise self._damaged(listing.repository, file.path, fault)
            partial.replace(blob)

    def _fault(self, path: Path, file: HubFile) -> str | None:
        """What is wrong with a file's content, None where nothing is."""
        size = path.stat().st_size
        if size != file.size:
            return f"expected {file.size:,} bytes, got {size:,}"
        if file.sha256 is not None:
            if size > 2**30:
                self.say(f"{file.path}: comparing its hash")
            expected, found = file.sha256, _digest(path, hashlib.sha256())
        elif file.git_blob is not None:
            expected, found = file.git_blob, _digest(path, hashlib.sha1(b"blob %d\0" % size))
        else:
            return None
        return None if found == expected else f"expected hash {expected[:12]}…, got {found[:12]}…"

    def _damaged(self, repository: str, path: str, fault: str) -> CheckpointError:
        return CheckpointError(
            f"{path} of {repository} came damaged from {self.address} ({fault}); it was removed: try again, or ask "
            "another mirror with --endpoint"
        )

    def _folder(self, repository: str) -> Path:
        """The repository's folder in the client's cache."""
        return self.cache / repo_folder_name(repo_id=repository, repo_type="model")

    def _remember(self, repository: str, revision: str, commit: str) -> None:
        """Which commit a branch or tag was, for a later look offline; as the client writes it."""
        if revision == commit:
            return
        path = self._folder(repository) / "refs" / revision
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit, encoding="utf-8")

    def _cached_listing(self, repository: str, revision: str) -> Listing:
        """What the cache has of a revision. A blob's name is its hash, so that damage shows offline too."""
        try:
            repositories = huggingface_hub.scan_cache_dir(self.cache).repos
        except (CacheNotFound, ValueError):
            repositories = frozenset()
        cached = next((r for r in repositories if r.repo_type == "model" and r.repo_id == repository), None)
        revisions = cached.revisions if cached else frozenset()
        for found in revisions:
            if revision == found.commit_hash or revision in found.refs:
                break
        else:
            raise CheckpointError(
                f"{repository} ({revision}) is not in the cache {self.cache}, and "
                "nothing may be fetched offline: run the command once with network, or copy the cache of a machine "
                "that has it"
            )
        files = []
        for file in found.files:
            name = file.blob_path.name
            files.append(
                HubFile(
                    file.file_path.relative_to(found.snapshot_path).as_posix(),
                    file.size_on_disk,
                    sha256=name if _SHA256.fullmatch(name) else None,
                    git_blob=name if _SHA1.fullmatch(name) else None,
                )
            )
        return Listing(repository, found.commit_hash, tuple(sorted(files, key=lambda file: file.path)))


def _digest(path: Path, digest: hashlib._Hash) -> str:
    """The hex digest after the file's content."""
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _require_room(folder: Path, needed: int, path: str) -> None:
    """Raises CheckpointError where a file's remaining bytes would fill the disk."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CheckpointError(
            f"{path} needs {needed / 1e9:.1f} GB more, {folder} has {free / 1e9:.1f} GB free: make room, or set "
            "HF_HOME to another disk"
        )


def _remove(path: Path) -> None:
    """Remove a file of the cache, with all that it points to."""
    while path.is_symlink():  # snapshot -> blob -> perhaps a store that repositories share
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)
