"""Dockerfile and docker-compose.yml: linted, wired to what exists, and without secrets.

That the Dockerfile's steps work is proven by ``tests/run_dockerfile.py``, which takes minutes and a root folder.
"""

from __future__ import annotations

import re
import runpy
import shutil
import stat
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_dockerfile import context_files, instructions, lets_through

from xsam_backend.config import ENV_PREFIX, Settings, load_settings
from xsam_backend.server.serving import GRACE_S
from xsam_backend.store.database import database_url

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE_FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BACKENDS = ("backend-cpu", "backend-gpu")


def lint_dockerfile(text: str) -> subprocess.CompletedProcess[str]:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    return subprocess.run([hadolint, "-"], input=text, capture_output=True, text=True, check=False)


def check_compose(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    done = lint_dockerfile(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something() -> None:
    assert "DL3006" in lint_dockerfile("FROM python\nRUN pip install flask\n").stdout


def test_compose_follows_the_specification() -> None:
    done = check_compose(COMPOSE_FILE)
    assert done.returncode == 0, done.stdout


def test_the_specification_would_be_missed(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE_FILE.read_text("utf-8").replace("condition: service_healthy", "condition: up"))
    assert check_compose(broken).returncode == 1


def test_layers_go_from_what_changes_seldom_to_what_changes_often() -> None:
    steps = [rest for word, rest in instructions(DOCKERFILE) if word == "RUN"]
    torch, libraries, user, code = steps
    assert "torch.txt" in torch
    assert "-r /tmp/requirements.txt" in libraries
    assert "useradd" in user
    assert "/tmp/source" in code
    assert all("source=requirements.txt" in step for step in (torch, libraries)), "code must not touch these layers"


def test_it_runs_as_somebody_without_rights_and_keeps_its_data_outside() -> None:
    last = dict(instructions(DOCKERFILE))
    assert last["USER"] == "10001:10001"
    assert last["VOLUME"] == '["/data"]'
    assert "/usr/local/lib/xsam-backend/healthcheck.py" in last["HEALTHCHECK"]
    assert last["CMD"] == '["serve"]'


def test_no_secret_is_in_a_layer() -> None:
    named = [rest for word, rest in instructions(DOCKERFILE) if word in ("ENV", "ARG")]
    assert not re.search(r"TOKEN|PASSWORD|SECRET|DATABASE_URL", " ".join(named))


@pytest.mark.parametrize(
    ("path", "passes"),
    [
        ("xsam_backend/server/app.py", True),
        ("xsam_backend/model/tiny/model.safetensors", True),
        ("requirements.txt", True),
        ("docker/healthcheck.py", True),
        ("xsam_backend/__pycache__/config.cpython-311.pyc", False),
        (".env", False),
        (".git/config", False),
        ("tests/conftest.py", False),
        ("data/webhook-secret", False),
        ("docker/override.yml", False),
    ],
)
def test_what_reaches_the_builder(path: str, passes: bool) -> None:
    assert lets_through((ROOT / ".dockerignore").read_text("utf-8"), path) is passes


def test_everything_that_the_build_reads_reaches_the_builder() -> None:
    names = {str(path) for path in context_files(ROOT)}
    assert {"pyproject.toml", "requirements.txt", "README.md", "LICENSE", "docker/healthcheck.py"} <= names
    assert "xsam_backend/__main__.py" in names


def test_label_studio_is_the_release_that_the_tests_run() -> None:
    files = (ROOT / "tests" / "requirements-label-studio.txt", ROOT / "xsam_backend" / "demo" / "label-studio.txt")
    pins = [line for file in files if file.exists() for line in file.read_text("utf-8").splitlines() if "==" in line]
    assert [f"heartexlabs/{pin.replace('==', ':')}" for pin in pins] == [SERVICES["label-studio"]["image"]]


def test_label_studio_may_talk_to_a_container() -> None:
    environment = SERVICES["label-studio"]["environment"]
    assert environment["LABEL_STUDIO_ML_BLOCK_LOCAL_IP"] == "false"
    assert environment["LABEL_STUDIO_SSRF_PROTECTION_ENABLED"] == "false"


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_is_wired_to_label_studio(name: str) -> None:
    service = SERVICES[name]
    environment = service["environment"]
    assert environment["XSAM_BACKEND_LABEL_STUDIO_URL"] == "http://label-studio:8080"
    token = environment["XSAM_BACKEND_LABEL_STUDIO_TOKEN"]
    assert token == SERVICES["label-studio"]["environment"]["LABEL_STUDIO_USER_TOKEN"]
    assert {name.removeprefix(ENV_PREFIX).lower() for name in environment} <= set(Settings.model_fields)
    assert service["depends_on"] == {
        "label-studio": {"condition": "service_healthy"},
        "postgresql": {"condition": "service_healthy", "required": False},
    }
    assert service["networks"]["default"]["aliases"] == ["xsam-backend"]
    assert int(service["stop_grace_period"].removesuffix("s")) > GRACE_S
    assert service["volumes"] == ["backend-data:/data"]


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_can_write_to_its_data_only_and_gain_no_rights(name: str) -> None:
    """That it works so: tests/e2e/test_read_only_root.py."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp", "/home/xsam"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "privileged" not in service


def test_postgresql_can_write_to_its_data_only_and_has_what_its_start_needs() -> None:
    """That it works so: tests/e2e/test_postgresql_with_few_rights.py, though not with the image."""
    service = SERVICES["postgresql"]
    assert service["read_only"] is True
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp", "/var/run/postgresql"]
    assert service["cap_drop"] == ["ALL"]
    assert service["cap_add"] == ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


def test_each_profile_has_its_backend() -> None:
    cpu, gpu = (SERVICES[name] for name in BACKENDS)
    assert (cpu["profiles"], cpu["build"]["args"]) == (["cpu"], {"TORCH": "cpu"})
    assert (gpu["profiles"], gpu["build"]["args"]) == (["gpu"], {"TORCH": "cuda"})
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "profiles" not in SERVICES["label-studio"]


def interpolated(value: str, environment: dict[str, str]) -> str:
    """As compose does ${NAME:+value}, with one name in the value."""
    found = re.fullmatch(r"\$\{(\w+):\+(.*)\}", value)
    assert found is not None, value
    given = environment.get(found[1], "")
    return found[2].replace(f"${{{found[1]}}}", given) if given else ""


@pytest.mark.parametrize("name", BACKENDS)
def test_a_password_for_postgresql_in_env_moves_the_databases_there(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = SERVICES[name]["environment"]["XSAM_BACKEND_DATABASE_URL"]
    monkeypatch.setenv("XSAM_BACKEND_DATABASE_URL", interpolated(value, {}))
    assert load_settings().shared_database_url is None
    monkeypatch.setenv("XSAM_BACKEND_DATABASE_URL", interpolated(value, {"POSTGRES_PASSWORD": "c0ffee"}))
    url = database_url("store", Path(), load_settings().shared_database_url)
    postgresql = SERVICES["postgresql"]
    assert (url.drivername, url.host, url.password) == ("postgresql+psycopg", "postgresql", "c0ffee")
    assert (url.username, url.database) == tuple(
        postgresql["environment"][f"POSTGRES_{key}"] for key in ("USER", "DB")
    )
    assert postgresql["profiles"] == ["postgresql"]
    assert postgresql["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert postgresql["volumes"][0].partition(":")[0] in COMPOSE["volumes"]
    assert "ports" not in postgresql, "only the backend needs it"


def test_secrets_are_demanded_and_have_no_default() -> None:
    """PostgreSQL's is asked for by its image: compose would demand it of those who don't start it, too."""
    assert SERVICES["postgresql"]["environment"]["POSTGRES_PASSWORD"] == "${POSTGRES_PASSWORD:-}"
    for service in (service for name, service in SERVICES.items() if name != "postgresql"):
        for name, value in service["environment"].items():
            if name.endswith(("TOKEN", "PASSWORD")) and "ENABLE" not in name:
                assert re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", value), name


def env_commands() -> dict[str, str]:
    """The command that makes .env, by the place where it's told: for the shell, without comment signs."""
    places = {
        name: (ROOT / name).read_text("utf-8") for name in ("README.md", "docs/containers.md", "docker-compose.yml")
    }
    found = {}
    for name, text in places.items():
        lines = re.search(r"^(?:#   )?\[ -e \.env \].*\n.*> \.env\)$", text, re.MULTILINE)
        assert lines is not None, name
        found[name] = lines[0].replace("#   ", "")
    return found


def test_the_command_for_secrets_is_the_same_everywhere() -> None:
    assert len(set(env_commands().values())) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the secrets, is not installed")
def test_secrets_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    """Label Studio takes them at its first start only; a second pair would lock the backend out."""
    command = ["bash", "-c", env_commands()["README.md"]]
    subprocess.run(command, cwd=tmp_path, check=True)
    made = (tmp_path / ".env").read_text()
    assert re.fullmatch(r"LABEL_STUDIO_TOKEN=[0-9a-f]{40}\nLABEL_STUDIO_PASSWORD=[0-9a-f]{24}\n", made)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / ".env").read_text() == made


def test_a_secret_as_a_file_goes_as_the_page_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "containers.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    told = yaml.safe_load(block)
    (name, service), (secret,) = next(iter(told["services"].items())), told["secrets"]
    assert service["secrets"] == [secret]
    environment = {**SERVICES[name]["environment"], **service["environment"]}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr("xsam_backend.config.SECRETS_DIR", tmp_path)
    (tmp_path / secret).write_text("from-the-file\n")
    token = load_settings(model="tiny").label_studio_token
    assert token is not None
    assert token.get_secret_value() == "from-the-file"


class Answering:
    """A server on loopback that answers every GET with one status."""

    def __init__(self, status: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/health" else 404)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    server = Answering(request.param)
    yield server.port
    server.close()


@pytest.mark.parametrize(
    ("value", "port"),
    [("", 9090), ("1234", 1234), ("tcp://10.0.0.1:9191", 9090)],
    ids=["unset", "set", "Kubernetes's"],
)
def test_the_health_check_asks_at_the_settings_port(value: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSAM_BACKEND_PORT", value)
    assert runpy.run_path(str(ROOT / "docker" / "healthcheck.py"))["port"]() == load_settings().port == port


def health(port: int) -> subprocess.CompletedProcess[str]:
    # A proxy in the environment must not be asked about this container.
    environment = {
        "XSAM_BACKEND_PORT": str(port),
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }
    command = [sys.executable, str(ROOT / "docker" / "healthcheck.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("port", "status"),
    [(200, 0), (401, 0), (500, 1), (404, 1)],
    indirect=["port"],
    ids=["up", "login", "ill", "other"],
)
def test_the_health_check_passes_when_the_service_answers(port: int, status: int) -> None:
    assert health(port).returncode == status


def test_the_health_check_fails_when_nobody_listens() -> None:
    done = health(1)
    assert done.returncode == 1
    assert "refused" in done.stderr
