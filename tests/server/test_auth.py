from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from werkzeug.datastructures import Authorization
from werkzeug.exceptions import Unauthorized

from xsam_backend.errors import StoreError
from xsam_backend.server.auth import BasicAuth, WebhookSecrets, root_secret
from xsam_backend.store.projects import ProjectKey


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        (Authorization("basic", {"username": "u", "password": "p"}), True),
        (Authorization("basic", {"username": "u", "password": "P"}), False),
        (Authorization("basic", {"username": "up", "password": ""}), False),
        (Authorization("basic", {}), False),
        (Authorization("bearer", token="p"), False),
        (None, False),
    ],
    ids=["right", "wrong password", "shifted border", "empty", "another scheme", "none"],
)
def test_only_the_right_pair_passes(given: Authorization | None, passes: bool) -> None:
    login = BasicAuth("u", "p")
    assert login.accepts(given) is passes
    if not passes:
        with pytest.raises(Unauthorized):
            login.demand(given)


def test_without_a_login_everybody_passes() -> None:
    login = BasicAuth(None, None)
    assert not login.is_on
    login.demand(None)


def test_each_project_has_its_own_secret() -> None:
    secrets = WebhookSecrets("root" * 8)
    one, other = ProjectKey("a", 1, 5), ProjectKey("a", 2, 5)
    assert secrets.verifies(one, secrets.of(one))
    assert not secrets.verifies(one, secrets.of(other))
    assert not secrets.verifies(one, None)
    assert not secrets.verifies(one, "é")
    assert not WebhookSecrets("other root").verifies(one, secrets.of(one))


def test_the_root_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:  # several services may start at once
        made = set(pool.map(lambda _: root_secret(tmp_path / "data", None), range(16)))
    assert len(made) == 1
    assert len(made.pop()) == 64
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["webhook-secret"]
    assert stat.S_IMODE((tmp_path / "data" / "webhook-secret").stat().st_mode) == 0o600


def test_a_configured_root_is_taken_and_not_kept(tmp_path: Path) -> None:
    assert root_secret(tmp_path, "configured") == "configured"
    assert list(tmp_path.iterdir()) == []


def test_a_broken_secret_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "webhook-secret").write_text("short")
    with pytest.raises(StoreError, match=r"delete the file to have one made"):
        root_secret(tmp_path, None)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot keep the webhook secret"):
        root_secret(tmp_path / "file", None)


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hmac.compare_digest, of things equally long, also where a guess is right at its start."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("xsam_backend.server.auth.hmac.compare_digest", compare)
    login, secrets = BasicAuth("user", "password"), WebhookSecrets("root" * 8)
    project = ProjectKey("a", 1, 5)
    for guess in ("", "p", "passwor", "password" * 50, "é"):
        assert not login.accepts(Authorization("basic", {"username": "user", "password": guess}))
    assert not secrets.verifies(project, secrets.of(project)[:-1] + "x")
    assert len(compared) == 6
    assert {(len(one), len(other)) for one, other in compared} == {(32, 32), (64, 64)}
