"""``serve --show-config``: every setting, its value, where it comes from; nothing is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xsam_backend.config import ENV_PREFIX, Settings

Run = Callable[..., tuple[int, str, str]]


def shown(out: str) -> dict[str, tuple[str, str]]:
    """Name -> value and origin."""
    found = {}
    for line in out.splitlines():
        name, value, origin = (part.strip() for part in line.split("  ") if part.strip())
        found[name] = (value, origin)
    return found


def test_every_setting_with_its_origin(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "xsam_backend_webhook_secret").write_text("SECRET-of-a-file" * 3)
    monkeypatch.setattr("xsam_backend.config.SECRETS_DIR", secrets)
    monkeypatch.setenv(ENV_PREFIX + "LABEL_STUDIO_TOKEN", "SECRET-token")
    monkeypatch.setenv(ENV_PREFIX + "THREADS", "20")
    monkeypatch.setenv(ENV_PREFIX + "PORT", "1234")
    monkeypatch.setenv(ENV_PREFIX + "WAIT_LIMIT_S", "")
    monkeypatch.setenv(ENV_PREFIX + "ALLOW_PRIVATE_HOSTS", "nas.local,10.0.0.0/8")
    status, out, err = run("serve", "--show-config", "--port", "99", "--model", "nowhere")
    assert (status, err) == (0, "")
    assert "SECRET" not in out
    found = shown(out)
    assert set(found) == set(Settings.model_fields)
    assert found["port"] == ("99", "--port")
    assert found["model"] == ("nowhere", "--model"), "nothing was loaded"
    assert found["threads"] == ("20", ENV_PREFIX + "THREADS")
    assert found["wait_limit_s"] == ("30.0", "default")
    assert found["allow_private_hosts"] == ("nas.local,10.0.0.0/8", ENV_PREFIX + "ALLOW_PRIVATE_HOSTS")
    assert found["label_studio_token"] == ("(hidden)", ENV_PREFIX + "LABEL_STUDIO_TOKEN")
    assert found["webhook_secret"] == ("(hidden)", str(secrets / "xsam_backend_webhook_secret"))
    assert found["database_url"] == ("(not set)", "default")


def test_settings_that_cannot_work_are_not_shown_but_told(run: Run) -> None:
    status, out, err = run("serve", "--show-config", "--port", "99999")
    assert (status, out, "port (XSAM_BACKEND_PORT)" in err) == (1, "", True)
