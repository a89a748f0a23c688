"""From what a task's data says to pixels: every kind of address that Label Studio hands out.

============================================  ====================================================================
``/data/upload/...``                          Label Studio, token; the path is sent as it came, it is quoted already
``/data/local-files/?d=...``                  below ``local_root`` if there is one, else Label Studio, token
``s3://``, ``gs://``, ``azure-blob://``       Label Studio's ``/tasks/<id>/resolve/``, token; its redirect without
``http://``, ``https://``                     fetched within the egress policy; token only for Label Studio's files
``data:``                                     decoded
``/path``, ``file:///path``                   read, below ``local_root`` only
============================================  ====================================================================
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, unquote_to_bytes, urlsplit

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import ImageError, SettingsError
from xsam_backend.labelstudio.client import LabelStudioClient
from xsam_backend.labelstudio.decoding import decode_image
from xsam_backend.labelstudio.egress import EgressRules, FetchPolicy, Resolver, WebAddress, redacted, resolve_host
from xsam_backend.labelstudio.fetching import Downloader

__all__ = ["FetchPolicy", "FetchedImage", "ImageSource"]

_CLOUD = re.compile(r"(s3|gs|azure-blob)://", re.IGNORECASE)
_LOCAL_FILES = re.compile(r"/data/local-files/?\?")
_LABEL_STUDIO_PATH = re.compile(r"/(data/upload|data/local-files|storage-data|static|tasks/\d+|projects/\d+)(?=[/?])")


@dataclass(frozen=True, eq=False)
class FetchedImage:
    """A picture as the annotator sees it.

    Attributes:
        pixels: uint8 (H, W, 3) RGB, EXIF orientation applied.
        sha256: hex digest of the encoded bytes: the picture's name in caches.
        size_hw: (height, width) in pixels.
        format: JPEG, PNG, WEBP, BMP, GIF or TIFF.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    sha256: str
    size_hw: tuple[int, int]
    format: str


class ImageSource:
    """Fetches pictures of tasks. Safe to share between threads; remembers nothing.

    Without ``client``, one is made from the policy's address and token, if it has them.

    Raises:
        SettingsError: the client speaks to another Label Studio than the policy names.
    """

    def __init__(
        self, policy: FetchPolicy, client: LabelStudioClient | None = None, *, resolver: Resolver = resolve_host
    ) -> None:
        if client is None and policy.label_studio_url and policy.token:
            client = LabelStudioClient(policy.label_studio_url, policy.token)
        rules = EgressRules(policy)
        if client is not None and not rules.is_label_studio(WebAddress.parse(client.url)):
            raise SettingsError(f"expected one Label Studio, got {policy.label_studio_url} and {client.url}")
        self.policy = policy
        self._rules = rules
        self._base = policy.label_studio_url.rstrip("/") if policy.label_studio_url else None
        self._downloader = Downloader(policy, client, resolver=resolver)

    @property
    def max_pixels(self) -> int:
        """Larger pictures are refused."""
        return self.policy.max_pixels

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        """The picture that ``url``, a value of a task's data, stands for. Cloud URIs need the ``task_id``.

        Raises:
            ImageError: it may not be had or cannot be read; the message names the address without its secrets, says
                why and what to do.
        """
        encoded = self.read(url, task_id)
        try:
            pixels, kind = decode_image(encoded, max_pixels=self.max_pixels)
        except ImageError as error:
            raise ImageError(f"{redacted(url.strip())}: {error}") from error
        return FetchedImage(pixels, hashlib.sha256(encoded).hexdigest(), (pixels.shape[0], pixels.shape[1]), kind)

    def read(self, url: str, task_id: int | None = None) -> bytes:
        """The picture's file as it is, not yet decoded.

        Raises:
            ImageError: as ``fetch``.
        """
        if not isinstance(url, str) or not url.strip():  # a task's data may hold any JSON
            came = "an empty text" if isinstance(url, str) else type(url).__name__
            raise ImageError(
                f"expected the address of a picture in the task's data, got {came}: "
                "check that the label config's value names the right key"
            )
        url = url.strip()
        try:
            return self._read(url, task_id)
        except ImageError as error:
            raise ImageError(f"{redacted(url)}: {error}") from error

    def _read(self, url: str, task_id: int | None) -> bytes:
        """The encoded picture, wherever it lies."""
        if url[:5].lower() == "data:":
            return _decode_data_uri(url, self.policy.max_bytes)
        if url[:5].lower() == "file:":
            return self._read_local(_path_of_file_uri(url))
        if _CLOUD.match(url):
            return self._downloader.download(self._resolve_url(url, task_id))
        if url.startswith(("upload/", "/upload/")):  # as exports write uploads
            url = "/data/" + url.lstrip("/")
        if url.startswith("/"):
            return self._read_relative(url)
        if _scheme(url) not in ("http", "https"):
            raise ImageError(
                f"expected http(s), s3, gs, azure-blob, data or file, or a path beginning with /, got "
                f"{_scheme(url) or 'no scheme'}: correct the task's data"
            )
        if self.policy.local_root is not None and _LOCAL_FILES.search(url):
            address = WebAddress.parse(url)
            if self._rules.is_label_studio(address) and _LOCAL_FILES.match(self._without_prefix(address.target)):
                return self._read_local_files(url)
        return self._downloader.download(url)

    def _read_relative(self, url: str) -> bytes:
        """A path without host: one of Label Studio's, else one of this machine's."""
        path = self._without_prefix(url)
        if _LOCAL_FILES.match(path) and self.policy.local_root is not None:
            return self._read_local_files(path)
        if _LABEL_STUDIO_PATH.match(path):
            return self._downloader.download(self._label_studio() + path)
        return self._read_local(url)

    def _resolve_url(self, uri: str, task_id: int | None) -> str:
        """Where Label Studio hands out a file of a connected cloud storage; the credentials stay with it."""
        if task_id is None:
            raise ImageError("a cloud URI is fetched through its task in Label Studio: give the task's id")
        encoded = base64.urlsafe_b64encode(uri.encode()).decode()
        return f"{self._label_studio()}/tasks/{int(task_id)}/resolve/?fileuri={encoded}"

    def _label_studio(self) -> str:
        if self._base is None:
            raise ImageError(
                "this file lies in Label Studio: set Label Studio's address (label_studio_url) and token"
            )
        return self._base

    def _without_prefix(self, path: str) -> str:
        """``path`` without the path of Label Studio's own address, if it lives below one (https://host/labels)."""
        prefix = urlsplit(self._base).path if self._base else ""
        return path[len(prefix) :] if prefix and path.startswith(prefix + "/") else path

    def _read_local_files(self, url: str) -> bytes:
        """The file that ``?d=`` names. Label Studio takes it below its document root, a leading slash or not."""
        values = parse_qs(url.partition("?")[2].partition("#")[0], keep_blank_values=True).get("d")
        if not values or not values[-1].strip("/"):
            raise ImageError("expected /data/local-files/?d=<path>, got no path: correct the task's data")
        return self._read_local(values[-1].lstrip("/"))

    def _read_local(self, path: str) -> bytes:
        """A file, read if its real place, symbolic links followed, is below the local root."""
        if self.policy.local_root is None:
            raise ImageError(
                "a path on this machine, and no folder is open for reading: set local_files_root, or import the "
                "picture into Label Studio"
            )
        root = self.policy.local_root.resolve()
        try:
            real = (root / path).resolve()
            is_file = real.is_file()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long, a NUL
            raise ImageError("the path cannot be followed: correct the task's data") from None
        if not real.is_relative_to(root):
            raise ImageError(
                "the path leads out of the folder that is open for reading: move the picture below local_files_root"
            )
        if not is_file:
            raise ImageError(
                "no such file below local_files_root: is that the folder that Label Studio has as "
                "LOCAL_FILES_DOCUMENT_ROOT?"
            )
        try:
            with real.open("rb") as file:
                encoded = file.read(self.policy.max_bytes + 1)
        except OSError as error:
            raise ImageError(f"the file cannot be read ({error.strerror}): check its permissions") from error
        return _within(encoded, self.policy.max_bytes)


def _within(encoded: bytes, max_bytes: int) -> bytes:
    if len(encoded) > max_bytes:
        raise ImageError(
            f"the picture's file has more than the {max_bytes:,} bytes allowed: shrink it, or raise image_max_mb"
        )
    return encoded


def _scheme(url: str) -> str:
    match = re.match(r"[a-z][a-z0-9+.-]*(?=:)", url, re.IGNORECASE)
    return match[0].lower() if match else ""


def _path_of_file_uri(url: str) -> str:
    """The path of ``file:///path`` or ``file:/path``, percent signs resolved."""
    try:
        parts = urlsplit(url)
    except ValueError as error:  # a host of characters that none has
        raise ImageError(f"expected file:///path, got an address that can't be read ({error}): correct it") from error
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ImageError("expected file:///path, got a file address with a host or a relative path: correct it")
    return unquote(parts.path)


def _decode_data_uri(url: str, max_bytes: int) -> bytes:
    """The bytes of ``data:[<type>][;base64],<data>``. The type is not believed; what the bytes are is seen later."""
    head, comma, data = url.partition(",")
    if not comma:
        raise ImageError("expected data:<type>;base64,<data>, got no comma: the address was cut off or mistyped")
    if not head.lower().rstrip().endswith(";base64"):
        return _within(unquote_to_bytes(data), max_bytes)
    text = re.sub(r"\s+", "", unquote(data))
    try:
        return _within(base64.b64decode(text + "=" * (-len(text) % 4), validate=True), max_bytes)
    except (binascii.Error, ValueError):
        raise ImageError(
            f"the data URI's base64 ({len(text):,} characters) cannot be decoded: it was cut off or altered"
        ) from None
