"""Where pictures may come from, and the download itself: the one place with an egress policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class FetchPolicy:
    """What may be fetched, and how much of it.

    Attributes:
        label_studio_url: address of the one Label Studio that gets the token; None without Label Studio.
        token: legacy token or personal access token of a Label Studio user.
        allowed_private_hosts: host names, addresses or networks (10.0.0.0/8) that may be private.
        local_root: folder below which local files may be read; None: no local file is read.
        max_bytes: largest encoded picture.
        max_pixels: largest width x height, checked from the header before decoding.
        connect_timeout_s: longest wait for a connection.
        read_timeout_s: longest silence while receiving.
        total_timeout_s: longest download, redirects included.
        max_redirects: most redirects of one download.
    """

    label_studio_url: str | None = None
    token: str | None = field(default=None, repr=False)
    allowed_private_hosts: tuple[str, ...] = ()
    local_root: Path | None = None
    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 80_000_000
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 10.0
    total_timeout_s: float = 20.0
    max_redirects: int = 5
