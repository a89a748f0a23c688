"""``doctor`` on set-ups that are broken for real: a real Label Studio, real services, real ports, files and weights.

What it prints stands in docs/doctor.md, section by section, and is compared with it here; ``UPDATE_DOCS=1`` writes
the page's outputs anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from backend_process import BackendProcess
from ls_client import LsClient
from ls_server import BINARY_VARIABLE, LabelStudio, find_binary, free_port
from test_label_studio import CONFIGS, picture

from xsam_backend.server.auth import WEBHOOK_HEADER

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "doctor.md"
TINY = ROOT / "xsam_backend" / "model" / "tiny"
SETUPS = PAGE.read_text("utf-8").partition("\n# ")[0]
"""The page up to its second part, which is about label configs (tests/cli/test_label_config_told.py)."""
TITLES = re.findall(r"^## (.+)$", SETUPS, re.MULTILINE)

TIDY = [
    (r"(?m)^ok    (versions|libraries): .*\n", ""),
    (r"(?m)^note  service: 20\d\d-.*\n", ""),  # what failed lately: other tests' doing
    (r"(?m)^(ok    device: ).*", r"\1…"),
    (r"(?m)^ok    (image|outputs|rule|click|box|words|question|pre-labels|corrected): .*\n", ""),  # the other part's
    (r"\d+\.\d GB free", "77.4 GB free"),
    (r"/projects/\d+/", "/projects/5/"),
    (r"/upload/\d+/", "/upload/5/"),
    (r"task \d+", "task 7"),
    (r"uid \d+", "uid 1000"),
    (r"\. This is a container, where .*", ""),
]
"""What differs from run to run, or from machine to machine."""


def show(title: str, printed: str, names: dict[str, str]) -> None:
    """Compare with the page's section, or write it there."""
    for text in sorted(names, key=len, reverse=True):
        printed = printed.replace(text, names[text])
    for pattern, instead in TIDY:
        printed = re.sub(pattern, instead, printed)
    page = PAGE.read_text("utf-8")
    section = re.search(
        rf"^## {re.escape(title)}\n(?:(?!## ).*\n)*?```text\n((?:(?!```).*\n)*)```", page, re.MULTILINE
    )
    assert section, f"docs/doctor.md has no section '{title}' with a ```text block"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page[: section.start(1)] + printed + page[section.end(1) :], "utf-8")
    else:
        assert section[1] == printed, "what doctor prints has changed: UPDATE_DOCS=1 writes it into docs/doctor.md"


def doctor(*arguments: object, **settings: str) -> tuple[int, str]:
    """Exit status and report."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment |= {f"XSAM_BACKEND_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "xsam_backend", "doctor", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[LabelStudio]:
    """A Label Studio of this file's own: its settings are changed under way."""
    binary = find_binary()
    if binary is None:
        pytest.skip(f"Label Studio is not installed: set {BINARY_VARIABLE} to its script")
    with LabelStudio(binary) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: LabelStudio) -> Iterator[LsClient]:
    client = LsClient(server.url, server.token)
    yield client
    client.close()


@pytest.fixture(scope="module")
def backend(server: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    settings = {"label_studio_url": server.url, "label_studio_token": server.token}
    with BackendProcess(tmp_path_factory.mktemp("doctor") / "data", settings=settings) as running:
        yield running


class Setup:
    """Label Studio, the service, and what an operator would type to have both examined."""

    def __init__(self, server: LabelStudio, backend: BackendProcess, client: LsClient) -> None:
        self.server, self.backend, self.client = server, backend, client

    def project(self, config: str = CONFIGS["polygon"], *, image: str | None = None) -> int:
        """One task: an uploaded picture, or what ``image`` says."""
        project_id = self.client.create_project("discs", config)
        if image is None:
            self.client.upload(project_id, "a.jpg", picture(), "image/jpeg")
        else:
            self.client.import_task(project_id, {"image": image, "text": "x"})
        return project_id

    def connect(self, project_id: int, url: str | None = None) -> None:
        """Connect a backend, ours if no other is named, and wait until its webhook carries the secret."""
        self.client.connect(project_id, url or self.backend.url)
        for _ in range(600):
            if all(WEBHOOK_HEADER in row["headers"] for row in self.client.webhooks(project_id)):
                return
            time.sleep(0.2)
        raise TimeoutError("the webhook never got its secret")

    def examine(
        self, title: str, project_id: int | None = None, other_url: str = "", **changed: str
    ) -> tuple[int, str]:
        """The doctor's exit status and report, compared with the page. ``other_url``: a second backend's address."""
        settings = {"label_studio_url": self.server.url, "label_studio_token": self.server.token} | changed
        arguments = ["--skip-model", "--port", self.backend.port, "--data-dir", self.backend.data_dir]
        arguments += ["--project", project_id] if project_id is not None else []
        status, printed = doctor(*arguments, **settings)
        names = {
            self.server.url: "http://127.0.0.1:8080",
            self.backend.url: "http://127.0.0.1:9090",
            str(self.backend.data_dir): "/data",
            **({other_url: "http://127.0.0.1:9191"} if other_url else {}),
        }
        show(title, printed, names)
        return status, printed


@pytest.fixture
def setup(server: LabelStudio, backend: BackendProcess, client: LsClient) -> Setup:
    return Setup(server, backend, client)


def test_all_is_well(setup: Setup) -> None:
    project_id = setup.project()
    setup.connect(project_id)
    status, printed = setup.examine("All is well", project_id)
    assert status == 0
    assert "FAIL" not in printed
    assert "Label Studio reaches this service" in printed


def test_label_studio_url_leads_elsewhere(setup: Setup) -> None:
    title = "The address of Label Studio leads to another program"
    status, printed = setup.examine(title, label_studio_url=setup.backend.url)
    assert status == 1
    assert "set label_studio_url to Label Studio's own address" in printed


def test_label_studio_is_down(setup: Setup) -> None:
    status, printed = setup.examine("Label Studio does not run", label_studio_url="http://127.0.0.1:1")
    assert status == 1
    assert "check label_studio_url" in printed
    assert "that Label Studio runs" in printed


def test_a_wrong_token(setup: Setup) -> None:
    status, printed = setup.examine("The token is wrong", label_studio_token="f" * 40)
    assert status == 1
    assert "set label_studio_token to a personal access token from Account & Settings" in printed


def test_legacy_tokens_are_switched_off(setup: Setup) -> None:
    """And a personal access token, made before, opens the door: it is traded for an access token."""
    client = setup.client
    personal = client.call("POST", "/api/token/")["token"]
    client.call("POST", "/api/jwt/settings", json={"api_tokens_enabled": True, "legacy_api_tokens_enabled": False})
    try:
        status, printed = setup.examine("The token is a legacy one, and these are switched off")
        mended, report = doctor(
            "--skip-model", "--data-dir", setup.backend.data_dir, "--port", setup.backend.port,
            label_studio_url=setup.server.url, label_studio_token=personal,
        )  # fmt: skip
    finally:
        access = client.call("POST", "/api/token/refresh", json={"refresh": personal}, headers={"Authorization": ""})
        client.call(
            "POST",
            "/api/jwt/settings",
            json={"legacy_api_tokens_enabled": True, "api_tokens_enabled": True},
            headers={"Authorization": f"Bearer {access['access']}"},
        )
    assert status == 1
    assert "legacy token authentication has been disabled" in printed
    assert "personal access token" in printed
    assert mended == 0
    assert "ok    token: personal access token of admin@example.com" in report


def test_no_backend_is_connected(setup: Setup) -> None:
    status, printed = setup.examine("The project has no backend", setup.project())
    assert status == 1
    assert "Connect Model" in printed


def test_the_backend_moved_to_another_port(setup: Setup, tmp_path: Path) -> None:
    project_id = setup.project()
    with BackendProcess(tmp_path / "data") as moved:
        setup.client.connect(project_id, moved.url)
    status, printed = setup.examine("The project's model has an old port", project_id, other_url=moved.url)
    assert status == 1
    assert f"This service is at {setup.backend.url}: change the address" in printed


def test_the_connected_backend_is_another(setup: Setup, tmp_path: Path) -> None:
    project_id = setup.project()
    with BackendProcess(tmp_path / "data") as other:
        setup.client.connect(project_id, other.url)
        status, printed = setup.examine(
            "The project is connected to another backend", project_id, other_url=other.url
        )
    assert status == 1
    assert "change its address in the project's model settings" in printed


def test_a_label_config_without_a_picture(setup: Setup) -> None:
    config = (
        '<View><Text name="text" value="$text"/><Choices name="c" toName="text"><Choice value="a"/></Choices></View>'
    )
    project_id = setup.project(config, image="-")
    setup.connect(project_id)
    status, printed = setup.examine("The label config has no picture", project_id)
    assert status == 1
    assert "it has no Image tag" in printed


def test_a_label_config_without_an_output(setup: Setup) -> None:
    config = '<View><Image name="image" value="$image"/><TextArea name="prompt" toName="image"/></View>'
    project_id = setup.project(config)
    setup.connect(project_id)
    status, printed = setup.examine("The label config has nowhere to write masks", project_id)
    assert status == 1
    assert "add e.g. <PolygonLabels" in printed


def test_a_picture_that_is_gone(setup: Setup) -> None:
    project_id = setup.project(image="/data/upload/5/gone.png")
    setup.connect(project_id)
    status, printed = setup.examine("The picture is gone", project_id)
    assert status == 1
    assert "FAIL  picture: /data/upload/5/gone.png" in printed


def test_a_picture_on_a_private_address(setup: Setup) -> None:
    project_id = setup.project(image="http://127.0.0.1:8081/a.png")
    setup.connect(project_id)
    status, printed = setup.examine("The picture is on a private address", project_id)
    assert status == 1
    assert "list the host or its network in allow_private_hosts" in printed


def test_a_data_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    status, printed = doctor("--skip-model", "--port", 1, "--data-dir", tmp_path / "file" / "data")
    show("The data folder cannot be written", printed, {str(tmp_path): "/srv"})
    assert status == 1
    assert "or give another folder with --data-dir" in printed


def test_a_damaged_database(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "inbox.sqlite3").write_bytes(b"not a database" * 1000)
    status, printed = doctor("--skip-model", "--port", 1, "--data-dir", data_dir)
    show("A database is damaged", printed, {str(tmp_path): "/srv"})
    assert status == 1
    assert "FAIL  data folder" in printed
    assert "move a damaged file away" in printed


@pytest.mark.skipif(not (TINY / "model.safetensors").is_file(), reason="the shipped weights are not in this checkout")
def test_damaged_weights(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "weights")
    with (tmp_path / "weights" / "model.safetensors").open("r+b") as file:
        file.truncate(1_000_000)
    status, printed = doctor("--port", 1, "--data-dir", tmp_path / "data", "--model", tmp_path / "weights")
    show("The weights are damaged", printed, {str(tmp_path): "/srv"})
    assert status == 1
    assert "FAIL  model: " in printed


def test_a_port_of_another_program(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            for _ in range(300):  # until it listens
                status, printed = doctor("--skip-model", "--port", port, "--data-dir", tmp_path / "data")
                if "none runs" not in printed:
                    break
        finally:
            other.terminate()
    names = {f"127.0.0.1:{port}": "127.0.0.1:9090", str(tmp_path / "data"): "/data"}
    show("The port belongs to another program", printed, names)
    assert status == 1
    assert "stop that program, or give the service another --port" in printed


def test_label_studio_refuses_private_addresses(setup: Setup) -> None:
    """Connected while it was allowed; then somebody starts Label Studio as the package comes. Last: it stays so."""
    project_id = setup.project()
    setup.connect(project_id)
    setup.server.restart({"LABEL_STUDIO_ML_BLOCK_LOCAL_IP": "true"})
    status, printed = setup.examine("Label Studio refuses backends on private addresses", project_id)
    assert status == 1
    assert "LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false: start it so" in printed


def test_the_page_has_nothing_else() -> None:
    source = Path(__file__).read_text("utf-8")
    assert [title for title in TITLES if f'"{title}"' not in source] == []
