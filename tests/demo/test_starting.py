"""What both servers are started with, and what the person is told."""

from __future__ import annotations

import errno
import io
import webbrowser
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_label_studio import FakeLabelStudio

from xsam_backend.config import load_settings
from xsam_backend.demo import backend, label_studio
from xsam_backend.demo.folder import Login, Memory
from xsam_backend.demo.progress import Progress
from xsam_backend.demo.running import Wishes, _ports, _Servers, run_demo
from xsam_backend.demo.words import announcement, open_browser
from xsam_backend.errors import DemoError
from xsam_backend.labelstudio.client import Row, TokenRefusedError

LOGIN = Login("demo@example.com", "SECRET-password", "SECRET-token")


def test_label_studio_gets_its_login_by_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_DATABASE", "another one's")
    monkeypatch.setenv("XSAM_BACKEND_LABEL_STUDIO_TOKEN", "another one's")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    command = label_studio.command(Path("/v/bin/label-studio"), Path("/data"), 8080)
    assert "SECRET" not in " ".join(command)
    environment = label_studio.environment(Path("/data"), 8080, LOGIN)
    assert environment["LABEL_STUDIO_USERNAME"] == LOGIN.email
    assert environment["LABEL_STUDIO_PASSWORD"] == LOGIN.password
    assert environment["LABEL_STUDIO_USER_TOKEN"] == LOGIN.token
    assert environment["LABEL_STUDIO_ML_BLOCK_LOCAL_IP"] == "false"
    assert environment["LABEL_STUDIO_SSRF_PROTECTION_ENABLED"] == "false"
    assert environment["LABEL_STUDIO_COLLECT_ANALYTICS"] == "false"
    assert environment["HTTPS_PROXY"] == "http://proxy"
    assert "another one's" not in environment.values()


def test_the_backend_gets_the_demos_settings_and_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XSAM_BACKEND_DATABASE_URL", "postgresql://another/ones")
    settings = load_settings(data_dir=tmp_path, device="cpu")
    environment = backend.environment(settings, tmp_path / "b", 9090, "http://127.0.0.1:8080", LOGIN.token)
    ours = {name: value for name, value in environment.items() if name.startswith("XSAM_BACKEND_")}
    for name in ours:
        monkeypatch.setenv(name, ours[name])
    monkeypatch.delenv("XSAM_BACKEND_DATABASE_URL")
    read = load_settings()
    assert (read.host, read.port, read.model, read.device) == ("127.0.0.1", 9090, "tiny", "cpu")
    assert read.label_studio_url == "http://127.0.0.1:8080"
    assert read.label_studio_token is not None
    assert read.label_studio_token.get_secret_value() == LOGIN.token
    assert read.data_dir == tmp_path / "b"
    assert "XSAM_BACKEND_DATABASE_URL" not in ours


def test_a_model_is_found_from_the_backends_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder's name is made absolute, a pulled model is found in the user's data folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "data" / "models" / "big").mkdir(parents=True)
    for name, expected in [("weights", "weights"), ("big", "data/models/big")]:
        settings = load_settings(data_dir=tmp_path / "data", model=name)
        environment = backend.environment(settings, tmp_path / "b", 1, "http://x", "t")
        assert environment["XSAM_BACKEND_MODEL"] == str(tmp_path / expected)


def test_a_folder_called_as_the_shipped_model_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    environment = backend.environment(load_settings(data_dir=tmp_path / "data"), tmp_path / "b", 1, "http://x", "t")
    assert environment["XSAM_BACKEND_MODEL"] == "tiny"


def test_no_backend_no_version() -> None:
    assert backend.model_version("http://127.0.0.1:1") is None


def test_the_announcement_has_all_that_is_needed() -> None:
    said = announcement("http://127.0.0.1:8080/projects/1/data", LOGIN, "http://127.0.0.1:9090 (tiny-1)")
    for words in ("http://127.0.0.1:8080/projects/1/data", LOGIN.email, LOGIN.password, "tiny-1"):
        assert said.count(words) == 1
    for words in ("Auto-Annotation", "click", "Alt", "box", "Enter"):
        assert words in said
    assert LOGIN.token not in said


def test_a_browser_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    browser = SimpleNamespace(open=lambda address: opened.append(address) or True)
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    assert open_browser("http://x")
    assert opened == ["http://x"]


def test_no_browser_and_one_in_the_terminal_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "get", none)
    assert not open_browser("http://x")
    monkeypatch.setattr(webbrowser, "get", lambda: webbrowser.GenericBrowser("lynx"))
    assert not open_browser("http://x")


def test_another_label_studio_on_the_port_is_not_taken_for_ours() -> None:
    class Another(FakeLabelStudio):
        def whoami(self) -> Row:
            raise TokenRefusedError("HTTP 401")

    servers = _Servers(False, [], Another(), "http://127.0.0.1:1")
    with pytest.raises(DemoError, match=r"another Label Studio answers at .* choose another port"):
        servers.wait(Progress())


@pytest.mark.parametrize(
    ("wishes", "memory"),
    [
        (Wishes(backend_port=8080), Memory()),
        (Wishes(label_studio_port=9090), Memory()),
        (Wishes(backend_port=8181), Memory(label_studio_port=8181)),
        (Wishes(), Memory(label_studio_port=9090)),
    ],
    ids=[
        "backend wants Label Studio's usual one",
        "the other way round",
        "that of last time",
        "remembered, and usual",
    ],
)
def test_the_two_servers_never_get_one_port(wishes: Wishes, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xsam_backend.demo.ports._problem", lambda _port: None)  # whatever listens on this machine
    found = _ports(wishes, memory, load_settings())
    assert found.label_studio_port != found.backend_port
    assert wishes.backend_port in (None, found.backend_port)
    assert wishes.label_studio_port in (None, found.label_studio_port)


def test_one_port_asked_for_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xsam_backend.demo.ports._problem", lambda _port: None)
    with pytest.raises(DemoError, match=r"port 8181, asked for with --label-studio-port, is the other server's"):
        _ports(Wishes(backend_port=8181, label_studio_port=8181), Memory(), load_settings())


def test_what_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("xsam_backend.demo.running.install_label_studio", full)
    with pytest.raises(DemoError, match=r"data/demo: \[Errno 28\] No space left on device: .* --data-dir"):
        run_demo(load_settings(data_dir=tmp_path / "data"), Wishes(), Progress(io.StringIO()))
