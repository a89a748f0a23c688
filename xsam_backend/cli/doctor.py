"""``doctor``: everything that a running service needs, checked one by one, each failure with what to change."""

from __future__ import annotations

import base64
import json
import os
import platform
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import click
import numpy as np

import xsam_backend
from xsam_backend.cli.options import secrets_help, settings_options
from xsam_backend.config import Settings, load_settings
from xsam_backend.errors import XSamBackendError

FREE_DISK_GB = 1.0
LIBRARIES = ("torch", "transformers", "flask", "gunicorn", "sqlalchemy", "opencv-python-headless")


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``mark``: "ok", "note" (works, but not everything will) or "FAIL"."""

    mark: str
    what: str
    found: str

    def __str__(self) -> str:
        return f"{self.mark:<5} {self.what}: {self.found}"


@click.command("doctor", epilog=secrets_help())
@click.option("--project", type=int, help="Id of a Label Studio project whose label config and first task to check.")
@click.option("--skip-model", is_flag=True, help="Don't load the weights (large ones take minutes).")
@settings_options(
    "host", "port", "model", "device", "data_dir", "label_studio_url", "local_files_root", "allow_private_hosts"
)
def command(project: int | None, skip_model: bool, **given: Any) -> None:
    """Check versions, data folder, weights, device, Label Studio, one of its projects, and the running service.

    Exit status 1 if something fails. Changes nothing, except that the data folder, its databases and its webhook
    secret are made.
    """
    settings = load_settings(**given)
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_versions,
        lambda: check_data_dir(settings),
        lambda: check_model(settings) if not skip_model else iter(()),
        lambda: check_label_studio(settings, project),
        lambda: check_service(settings),
    ]
    failed = False
    for check in checks:
        for finding in check():
            click.echo(str(finding))
            failed = failed or finding.mark == "FAIL"
    sys.exit(1 if failed else 0)


def check_versions() -> Iterator[Finding]:
    """What runs here."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    yield Finding("ok", "versions", f"xsam-backend {xsam_backend.__version__}, Python {platform.python_version()}")
    yield Finding("ok", "libraries", libraries)


def check_data_dir(settings: Settings) -> Iterator[Finding]:
    """Whether databases can be opened and there is room."""
    from xsam_backend.server.auth import root_secret
    from xsam_backend.store.database import History, database_url, open_database

    shared_url = settings.database_url.get_secret_value() if settings.database_url else None
    secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else None
    histories: tuple[History, ...] = ("inbox", "store")
    try:
        root_secret(settings.data_dir, secret)
        for history in histories:
            open_database(database_url(history, settings.data_dir, shared_url), history).dispose()
    except XSamBackendError as error:
        yield Finding("FAIL", "data folder", str(error))
        return
    free_gb = shutil.disk_usage(settings.data_dir).free / 1e9
    room = f"{settings.data_dir} can be written, {free_gb:.1f} GB free"
    if free_gb < FREE_DISK_GB:
        yield Finding("FAIL", "data folder", f"{room}: make room, at least {FREE_DISK_GB:.0f} GB")
    else:
        yield Finding("ok", "data folder", room)


def check_model(settings: Settings) -> Iterator[Finding]:
    """Whether the weights load and answer, how long it takes, and how much memory there is."""
    import torch

    from xsam_backend.model.predictor import load_predictor

    started = time.monotonic()
    try:
        predictor = load_predictor(settings.model, settings.device)
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
    if settings.image_cache_mb / 1000 > memory_gb / 2:
        yield Finding(
            "note", "device", f"image_cache_mb is {settings.image_cache_mb}, over half of the memory: lower it"
        )


def check_label_studio(settings: Settings, project_id: int | None) -> Iterator[Finding]:
    """Address, token, and one project: label config, webhook, one picture."""
    from xsam_backend.server.outside import label_studio_client

    if not settings.label_studio_url and settings.label_studio_token is not None:
        yield Finding("FAIL", "Label Studio", "label_studio_token is set, label_studio_url is not: whom is it for?")
        return
    if not settings.label_studio_url:
        yield Finding("note", "Label Studio", "label_studio_url is not set: uploaded pictures cannot be fetched")
        return
    try:
        client = label_studio_client(settings)
        if client is None:
            yield Finding(
                "note", "Label Studio", "label_studio_token is not set: uploaded pictures cannot be fetched"
            )
            return
        yield Finding("ok", "Label Studio", f"version {client.version()} at {settings.label_studio_url}")
        yield Finding("ok", "token", f"belongs to {client.whoami().get('email')}")
        if project_id is None:
            yield Finding("note", "project", "none given: check one with --project ID")
        else:
            yield from _check_project(settings, client, project_id)
    except XSamBackendError as error:
        yield Finding("FAIL", "Label Studio", str(error))


def _check_project(settings: Settings, client: Any, project_id: int) -> Iterator[Finding]:
    from xsam_backend.labelstudio.images import ImageSource
    from xsam_backend.labelstudio.label_config import LabelConfig
    from xsam_backend.server.auth import WEBHOOK_HEADER, WebhookSecrets, root_secret
    from xsam_backend.server.outside import fetch_policy
    from xsam_backend.store.projects import ProjectKey

    project = client.project(project_id)
    config = LabelConfig.parse(project.get("label_config") or "")
    outputs = ", ".join(f"{output.tag} '{output.name}'" for output in config.outputs_on(config.image().name))
    yield Finding("ok", "label config", f"'{project.get('title')}' writes to {outputs}")
    for note in config.notes:
        yield Finding("note", "label config", note)
    smart = [control.name for control in config.controls if control.is_prompt_tool]
    if not smart:
        yield Finding("note", "label config", 'no smart tool: add e.g. <KeyPointLabels ... smart="true"> for clicks')
    configured = settings.webhook_secret.get_secret_value() if settings.webhook_secret else None
    secrets = WebhookSecrets(root_secret(settings.data_dir, configured))
    key = ProjectKey.from_webhook(settings.instance, project)
    headers = [row.get("headers") or {} for row in client.webhooks(project_id)]
    if any(secrets.verifies(key, header.get(WEBHOOK_HEADER)) for header in headers):
        yield Finding("ok", "webhook", "carries our secret")
    else:
        yield Finding(
            "note",
            "webhook",
            "no webhook of this project carries our secret: open its model settings once, wait 30 s",
        )
    task = next(client.tasks(project_id, page_size=1), None)
    if task is None:
        yield Finding("note", "picture", "the project has no task")
        return
    image = ImageSource(fetch_policy(settings), client).fetch(config.image_value(task["data"]), task["id"])
    height, width = image.size_hw
    yield Finding("ok", "picture", f"task {task['id']}: {image.format}, {width} x {height}")


def check_service(settings: Settings) -> Iterator[Finding]:
    """The service on this machine, if it runs: its version and the last things that failed."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    address = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    request = urllib.request.Request(f"{address}/status", headers={"Accept": "application/json"})
    if settings.basic_auth_user is not None and settings.basic_auth_password is not None:
        pair = f"{settings.basic_auth_user}:{settings.basic_auth_password.get_secret_value()}"
        request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            status = json.load(response)
            version_ = status["version"]
    except urllib.error.HTTPError as error:
        words = "user name or password refused" if error.code == 401 else f"HTTP {error.code}: is it another program?"
        yield Finding("FAIL", "service", f"{address}: {words}")
        return
    except (OSError, ValueError, KeyError, TypeError):
        yield Finding("note", "service", f"none runs at {address} (start it with 'serve')")
        return
    yield Finding("ok", "service", f"{version_} at {address}, model version {status['model_version']}")
    for problem in status["problems"][:10]:
        yield Finding("note", "service", f"{problem['at']} {problem['where']}: {problem['message']} {problem['id']}")
