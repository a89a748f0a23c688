"""Who may ask what.

Label Studio sends HTTP basic auth (where its form has it) on health, setup, predict, versions and START_TRAINING, but
not on the other webhooks. Those carry a secret in a header instead: one per project, made from a root secret, so that
whoever may read one project's webhook rows in Label Studio can speak for that project only.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from sqlalchemy import Engine
from werkzeug.datastructures import Authorization, WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from xsam_backend.config import Settings
from xsam_backend.errors import StoreError
from xsam_backend.store.projects import ProjectKey
from xsam_backend.store.shared_secrets import shared_secret

WEBHOOK_HEADER = "X-XSam-Backend-Secret"
"""Header that we ask Label Studio to send with a project's webhooks."""


def given_login(header: str | None) -> Authorization | None:
    """What an Authorization header says; None without one. One with letters that werkzeug doesn't expect is a wrong
    login, and no failure of ours."""
    try:
        return Authorization.from_header(header)
    except ValueError:
        return Authorization("basic", {})


class BasicAuth:
    """User name and password that requests must carry; without both, everybody may ask."""

    def __init__(self, user: str | None, password: str | None) -> None:
        self._expected = None if user is None or password is None else _fingerprint(user, password)

    @property
    def is_on(self) -> bool:
        """Whether anything is demanded."""
        return self._expected is not None

    def accepts(self, given: Authorization | None) -> bool:
        """Whether a request with this header may pass; takes equally long for every wrong answer."""
        if self._expected is None:
            return True
        basic = given is not None and given.type == "basic"
        user = (given.username or "") if basic and given else ""
        password = (given.password or "") if basic and given else ""
        return hmac.compare_digest(_fingerprint(user, password), self._expected)

    def demand(self, given: Authorization | None) -> None:
        """Let a request with this header pass.

        Raises:
            Unauthorized: it may not; Label Studio words the 401 as "authentication parameters … incorrect".
        """
        if not self.accepts(given):
            raise Unauthorized(
                "user name or password missing or wrong: set them in Label Studio's form of this backend",
                www_authenticate=WWWAuthenticate("basic", {"realm": "xsam-backend"}),
            )


def _fingerprint(user: str, password: str) -> bytes:
    """Equally long for all inputs, so that comparing tells nothing about lengths."""
    return hashlib.sha256(f"{len(user)}:{user}:{password}".encode("utf-8", "surrogateescape")).digest()


class WebhookSecrets:
    """The secret of each project's webhooks."""

    def __init__(self, root: str) -> None:
        self._root = root.encode()

    def of(self, project: ProjectKey) -> str:
        """64 hex digits."""
        return hmac.new(self._root, f"webhook {project}".encode(), hashlib.sha256).hexdigest()

    def verifies(self, project: ProjectKey, given: str | None) -> bool:
        """Whether ``given`` (the header's value) is the project's secret."""
        return given is not None and hmac.compare_digest(given.encode(), self.of(project).encode())


def webhook_root(settings: Settings, store: Engine) -> str:
    """The root secret that the settings mean: one for all services of a shared database, since Label Studio's event
    may come to any of them. There the first one's counts.

    Raises:
        StoreError: it can't be kept or read.
    """
    configured = settings.webhook_secret.get_secret_value() if settings.webhook_secret else None
    root = root_secret(settings.data_dir, configured)
    if configured or settings.shared_database_url is None:
        return root
    return shared_secret(store, "webhooks", root)


def root_secret(data_dir: Path, configured: str | None) -> str:
    """The configured root secret, else the one kept in ``data_dir``, made on first use and readable by us only.

    Raises:
        StoreError: the folder cannot be written or the file cannot be read.
    """
    if configured:
        return configured
    path = data_dir / "webhook-secret"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            draft = data_dir / f".webhook-secret-{secrets.token_hex(4)}"
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
            try:
                os.link(draft, path)  # fails if another process was faster: then its secret is taken
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        text = path.read_text().strip()
    except OSError as error:
        raise StoreError(f"cannot keep the webhook secret in {data_dir}: {error}") from error
    if len(text) < 32:
        raise StoreError(f"{path}: expected a secret of 32 characters or more; delete the file to have one made")
    return text
