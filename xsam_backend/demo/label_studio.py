"""How the demo's Label Studio is started: for this machine only, and allowed to talk to it."""

from __future__ import annotations

from pathlib import Path

from xsam_backend.config import inherited_environment
from xsam_backend.demo.folder import Login
from xsam_backend.demo.ports import LOOPBACK


def command(script: Path, data_dir: Path, port: int) -> list[str]:
    """Program and arguments. The login isn't among them: :func:`environment` has it."""
    where = ["--internal-host", LOOPBACK, "--port", str(port), "--data-dir", str(data_dir)]
    return [str(script), "start", "--no-browser", *where, "--enable-legacy-api-token"]


def environment(data_dir: Path, port: int, login: Login) -> dict[str, str]:
    """Everything that is set for it. Settings of another Label Studio on this machine are not passed on."""
    inherited = inherited_environment(
        without=("LABEL_STUDIO_", "HEARTEX_", "DJANGO_", "XSAM_BACKEND_", "PYTHONPATH", "PYTHONHOME")
    )
    return inherited | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir),
        "LABEL_STUDIO_HOST": f"http://{LOOPBACK}:{port}",
        # The user that it makes at its first start. Not as arguments: a command line can be read by everybody.
        "LABEL_STUDIO_USERNAME": login.email,
        "LABEL_STUDIO_PASSWORD": login.password,
        "LABEL_STUDIO_USER_TOKEN": login.token,
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # Label Studio refuses ML backends and webhooks on loopback and private addresses, so that its users can't
        # reach what only the server can. Ours is on loopback, and the only user is the one who started it.
        "LABEL_STUDIO_ML_BLOCK_LOCAL_IP": "false",
        "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",
        # No telemetry, no error reports, no look for updates: each waits for a network that may not be there.
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_SENTRY_DSN": "",
        "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
        "LABEL_STUDIO_FEATURE_FLAGS_OFFLINE": "true",
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": f"{LOOPBACK},localhost",
        "no_proxy": f"{LOOPBACK},localhost",
    }
