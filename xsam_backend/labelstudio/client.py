"""The part of Label Studio's REST API that the backend needs."""

from __future__ import annotations


class LabelStudioClient:
    """Calls one Label Studio with one user's token."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
