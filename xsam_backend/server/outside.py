"""From the settings to what speaks with the world outside: Label Studio's API, and where pictures come from."""

from __future__ import annotations

from xsam_backend.config import Settings
from xsam_backend.labelstudio.client import LabelStudioClient
from xsam_backend.labelstudio.images import FetchPolicy


def label_studio_client(settings: Settings) -> LabelStudioClient | None:
    """A client of the configured Label Studio; None without address or token."""
    if not settings.label_studio_url or not settings.label_studio_token:
        return None
    return LabelStudioClient(
        settings.label_studio_url,
        settings.label_studio_token.get_secret_value(),
        timeout_s=settings.label_studio_timeout_s,
    )


def fetch_policy(settings: Settings) -> FetchPolicy:
    """Where pictures may come from, as the settings say."""
    return FetchPolicy(
        label_studio_url=settings.label_studio_url,
        token=settings.label_studio_token.get_secret_value() if settings.label_studio_token else None,
        allowed_private_hosts=settings.allow_private_hosts,
        local_root=settings.local_files_root,
        max_bytes=settings.image_max_mb * 2**20,
        max_pixels=settings.image_max_megapixels * 1_000_000,
        total_timeout_s=settings.image_timeout_s,
    )
