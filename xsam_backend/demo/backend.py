"""How the demo's own backend is started, and asked whether it answers."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

from xsam_backend.config import ENV_PREFIX, Settings, inherited_environment
from xsam_backend.demo.ports import LOOPBACK


def command() -> list[str]:
    """Program and arguments; everything that is set comes by environment."""
    return [sys.executable, "-m", "xsam_backend", "serve"]


def environment(settings: Settings, data_dir: Path, port: int, label_studio_url: str, token: str) -> dict[str, str]:
    """Everything that is set for it: what the demo needs, and of the settings those about the model."""
    own = {
        "host": LOOPBACK,
        "port": str(port),
        "data_dir": str(data_dir),
        "model": _model(settings),
        "device": settings.device,
        "dtype": settings.dtype,
        "label_studio_url": label_studio_url,
        "label_studio_token": token,
    }
    inherited = inherited_environment(without=(ENV_PREFIX,))
    return inherited | {ENV_PREFIX + name.upper(): value for name, value in own.items()}


def _model(settings: Settings) -> str:
    """The model as the backend finds it, whose data folder and working folder are others than ours."""
    if settings.model == "tiny":  # the shipped one, whatever folders there are
        return settings.model
    for folder in (settings.models_dir / settings.model, Path(settings.model)):
        if folder.is_dir():
            return str(folder.resolve())
    return settings.model


def model_version(address: str) -> str | None:
    """The version of the model that a backend serves; None while it doesn't answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address}/health", timeout=5) as response:
            return str(json.load(response)["model_version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
