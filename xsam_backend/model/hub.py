"""Model repositories by name, through huggingface_hub: what they hold, and their files, kept in the client's cache.

The client's variables (HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, ...) are its own business and mean what they
always mean. What a server says is believed only as far as it can be compared: it may be a mirror of anybody's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import CacheNotFound
from huggingface_hub.file_download import _create_symlink, repo_folder_name
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

from xsam_backend.errors import CheckpointError
from xsam_backend.model.hub_errors import worded
from xsam_backend.model.hub_files import SHA1, SHA256, DamagedError, HubFile, complete, find_fault, is_inside, remove

logger = logging.getLogger(__name__)


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
        say: told in words what takes long.

    Raises:
        CheckpointError: the endpoint is no address, or has a password in it.
    """

    endpoint: str | None = None
    offline: bool = False
    say: Callable[[str], None] = logger.info

    def __post_init__(self) -> None:
        if "@" in self.address:
            raise CheckpointError(
                "the hub's endpoint has a user name or password in it, which logs would show: leave them out, and "
                "set HF_TOKEN"
            )
        if not re.match(r"https?://[\w.\[:-]", self.address):
            raise CheckpointError(
                f"the hub's endpoint: expected an address like https://mirror.example, got {self.address!r}"
            )

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
        """The folder where files are kept, the client's own (HF_HOME, HF_HUB_CACHE)."""
        return Path(constants.HF_HUB_CACHE).expanduser()

    def listing(self, repository: str, revision: str = "main") -> Listing:
        """The files of a branch, tag or commit; offline, those of them that are in the cache.

        Raises:
            CheckpointError: no such repository or revision, no permission, no network; or, offline, nothing cached.
        """
        if not is_inside(revision):
            raise CheckpointError(f"{revision!r} is no revision of {repository}: give a branch, tag or commit")
        if self.is_offline:
            return self._cached_listing(repository, revision)
        with worded(self.address, repository, revision):
            api = huggingface_hub.HfApi(endpoint=self.endpoint)
            commit = api.repo_info(repository, revision=revision).sha
            if commit is None or not SHA1.fullmatch(commit):
                raise ValueError(f"a commit of the name {commit!r}")
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
            fault = find_fault(Path(cached), file, self.say)
            if fault is None:
                return Path(cached)
            remove(Path(cached))
            if self.is_offline:
                raise CheckpointError(
                    f"{path} of {listing.repository} in the cache is damaged ({fault}); it was removed: run the "
                    "command once with network"
                )
            self.say(f"{path} in the cache is damaged ({fault}): fetching it again")
        if self.is_offline:
            raise CheckpointError(
                f"{path} of {listing.repository} has left the cache: run the command once with network"
            )
        with worded(self.address, listing.repository, listing.commit):
            try:
                return self._download(listing, file)
            except DamagedError as error:
                raise CheckpointError(
                    f"{path} of {listing.repository} came damaged from {self.address} ({error}); it was removed: try "
                    "again, or ask another mirror with --endpoint"
                ) from error

    def _download(self, listing: Listing, file: HubFile) -> Path:
        """The file's place in the snapshot of its commit; its blob is completed first. Raises as ``complete``."""
        folder = self._folder(listing.repository)
        blob, pointer = folder / "blobs" / file.blob, folder / "snapshots" / listing.commit / file.path
        lock = self.cache / ".locks" / folder.name / f"{file.blob}.lock"  # the client's own, so it isn't in our way
        for path in (blob, pointer, lock):
            path.parent.mkdir(parents=True, exist_ok=True)
        address = huggingface_hub.hf_hub_url(
            listing.repository, file.path, revision=listing.commit, endpoint=self.endpoint
        )
        with WeakFileLock(lock):
            complete(blob, file, address, self.say)
            _create_symlink(str(blob), str(pointer))
        return pointer

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
                    sha256=name if SHA256.fullmatch(name) else None,
                    git_blob=name if SHA1.fullmatch(name) else None,
                )
            )
        return Listing(repository, found.commit_hash, tuple(sorted(files, key=lambda file: file.path)))
