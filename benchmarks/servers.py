"""A real Label Studio and our service, for benchmarks that need both."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import requests

from xsam_backend.config import load_settings
from xsam_backend.demo import backend, label_studio
from xsam_backend.demo.folder import DemoFolder, Login
from xsam_backend.demo.ports import LOOPBACK, choose_port
from xsam_backend.demo.processes import Child, stop_all, wait_for
from xsam_backend.errors import LabelStudioError
from xsam_backend.labelstudio.project_setup import ProjectSetup

START_LIMIT_S = 900.0
GRACE_S = 30.0

label_studio_option = click.option(
    "--label-studio",
    "script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="An installed label-studio program.",
)


@dataclass(frozen=True)
class Running:
    """Both servers.

    Attributes:
        client: Label Studio's API as far as the demo needs it.
        login: whose account it is.
        backend: address of ours.
        data_dir: of ours.
    """

    client: ProjectSetup
    login: Login
    backend: str
    data_dir: Path
    children: list[Child]

    def label_studio(self, method: str, path: str, body: Any) -> Any:
        """One call of Label Studio's API."""
        headers = {"Authorization": f"Token {self.login.token}"}
        answer = requests.request(method, self.client.url + path, json=body, headers=headers, timeout=120)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def ours(self, path: str) -> Any:
        """What our service says of itself."""
        return requests.get(self.backend + path, timeout=30, headers={"Accept": "application/json"}).json()


def start_service(data_dir: Path, log: Path, **settings: object) -> tuple[Child, str]:
    """The service with its worker, without a Label Studio: its process, which has just begun, and its address."""
    port = choose_port(None, 9190, option="--port")
    own = {"host": LOOPBACK, "port": port, "data_dir": data_dir, "model": "tiny", "device": "cpu"} | settings
    environment = dict(os.environ) | {f"XSAM_BACKEND_{name.upper()}": str(value) for name, value in own.items()}
    child = Child("serve", [sys.executable, "-m", "xsam_backend", "serve"], environment, log, data_dir)
    return child, f"http://{LOOPBACK}:{port}"


@contextmanager
def serving(data_dir: Path, log: Path, **settings: object) -> Iterator[str]:
    """The service as ``start_service`` starts it, until the block ends; its address."""
    child, address = start_service(data_dir, log, **settings)

    def is_up() -> bool | None:
        try:
            return requests.get(f"{address}/health", timeout=5).ok or None
        except requests.RequestException:
            return None

    try:
        wait_for(is_up, [child], limit_s=300, what="serve")
        yield address
    finally:
        stop_all([child], 30)


@contextmanager
def running(root: Path, script: Path) -> Iterator[Running]:
    """Label Studio and our service, until the block ends."""
    folder = DemoFolder(root)
    login = folder.login()
    port = choose_port(None, 8080, option="--label-studio-port")
    own_port = choose_port(None, 9090, option="--port", not_these=(port,))
    client = ProjectSetup(f"http://{LOOPBACK}:{port}", login.token)
    children: list[Child] = []

    def is_up() -> bool | None:
        try:
            client.whoami()
        except LabelStudioError:
            return None
        return True

    try:
        studio = label_studio.command(script, folder.label_studio_data, port)
        studio_environment = label_studio.environment(folder.label_studio_data, port, login)
        log = folder.logs / "label-studio.log"
        children.append(Child("Label Studio", studio, studio_environment, log, folder.label_studio_data))
        ours = backend.environment(load_settings(), folder.backend_data, own_port, client.url, login.token)
        children.append(Child("serve", backend.command(), ours, folder.logs / "backend.log", folder.backend_data))
        address = f"http://{LOOPBACK}:{own_port}"
        wait_for(is_up, children, limit_s=START_LIMIT_S, what="Label Studio")
        wait_for(lambda: backend.model_version(address), children, limit_s=START_LIMIT_S, what="serve")
        yield Running(client, login, address, folder.backend_data, children)
    finally:
        stop_all(children, GRACE_S)
