"""This machine: versions, data folder, weights, device and memory."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np

import xsam_backend
from xsam_backend.cli.checks import Finding
from xsam_backend.config import Settings
from xsam_backend.errors import XSamBackendError

FREE_DISK_GB = 1.0
LIBRARIES = ("torch", "transformers", "flask", "gunicorn", "sqlalchemy", "opencv-python-headless")


def check_versions() -> Iterator[Finding]:
    """What runs here."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    yield Finding("ok", "versions", f"xsam-backend {xsam_backend.__version__}, Python {platform.python_version()}")
    yield Finding("ok", "libraries", libraries)


def check_data_dir(settings: Settings) -> Iterator[Finding]:
    """Whether databases can be opened and there is room."""
    from xsam_backend.server.auth import root_secret
    from xsam_backend.store.database import History, database_url, open_database

    secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else None
    histories: tuple[History, ...] = ("inbox", "store")
    try:
        root_secret(settings.data_dir, secret)
        for history in histories:
            open_database(database_url(history, settings.data_dir, settings.shared_database_url), history).dispose()
    except XSamBackendError as error:
        yield Finding(
            "FAIL",
            "data folder",
            f"{error}. Is the disk full or read-only, may this user ({_user()}) write there, is the file damaged? "
            "Mend that (move a damaged file away, or restore it), or give another folder with --data-dir",
        )
        return
    if not settings.data_dir.is_dir():
        yield Finding(
            "ok", "data folder", f"{settings.data_dir} is not there, and not needed: the databases are elsewhere"
        )
        return
    free_gb = shutil.disk_usage(settings.data_dir).free / 1e9
    room = f"{settings.data_dir} can be written, {free_gb:.1f} GB free"
    if free_gb < FREE_DISK_GB:
        yield Finding("FAIL", "data folder", f"{room}: make room, at least {FREE_DISK_GB:.0f} GB")
    else:
        yield Finding("ok", "data folder", room)


def check_artefacts(settings: Settings) -> Iterator[Finding]:
    """Whether what services share can be written and read; nothing where they share no files."""
    from xsam_backend.store.shared_files import shared_files

    try:
        shared = shared_files(settings.artefacts_url)
        if shared is None:
            return
        shared.try_out()
    except XSamBackendError as error:
        yield Finding("FAIL", "artefacts", str(error))
        return
    yield Finding("ok", "artefacts", f"{shared.url} can be written and read")


def _user() -> str:
    return f"uid {os.getuid()}" if hasattr(os, "getuid") else "the current one"


def check_model(settings: Settings) -> Iterator[Finding]:
    """Whether the weights load and answer, how long it takes, and how much memory there is."""
    import torch

    from xsam_backend.model.predictor import load_predictor

    started = time.monotonic()
    try:
        predictor = load_predictor(settings.model, settings.device, settings.dtype, settings.models_dir)
        loaded_s = time.monotonic() - started
        state = predictor.encode(np.zeros((64, 64, 3), np.uint8))
    except (XSamBackendError, RuntimeError) as error:  # RuntimeError: torch has no such device, or no memory on it
        yield Finding("FAIL", "model", str(error))
        return
    encoded_s = time.monotonic() - started - loaded_s
    yield Finding(
        "ok",
        "model",
        f"{settings.model} is version {predictor.model_version}, loaded in {loaded_s:.1f} s, first picture in "
        f"{encoded_s:.1f} s, {state.nbytes / 2**20:.0f} MB per picture",
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    found = f"{os.cpu_count()} CPU cores, {memory_gb:.0f} GB memory"
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found += f"; {torch.cuda.get_device_name()}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"
    else:
        found += "; no CUDA device"
    yield Finding("ok", "device", found)
    caches = {"encoder_cache_mb": settings.encoder_cache_mb}
    if not torch.cuda.is_available() or settings.device == "cpu":
        caches |= {"image_cache_mb": settings.image_cache_mb, "prefix_cache_mb": settings.prefix_cache_mb}
    if sum(caches.values()) / 1000 > memory_gb / 2:
        listed = ", ".join(f"{name} {mb}" for name, mb in caches.items())
        yield Finding("note", "device", f"over half of the memory may go to what is kept of pictures: lower {listed}")
