"""The way to Label Studio: its address and the token; then one of its projects."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from xsam_backend.cli.checks import Finding
from xsam_backend.cli.checks.connection import check_connection
from xsam_backend.cli.checks.project import check_project
from xsam_backend.config import Settings
from xsam_backend.errors import NotFoundError, XSamBackendError
from xsam_backend.labelstudio.client import LabelStudioClient

WITHOUT_API = "uploaded pictures cannot be fetched, and a batch gets only the predictions that fit into a reply"


def check_label_studio(settings: Settings, project_id: int | None) -> Iterator[Finding]:
    """Address, token, and one project: label config, webhook, one picture, and the way back to us."""
    from xsam_backend.server.outside import label_studio_client

    if not settings.label_studio_url and settings.label_studio_token is not None:
        yield Finding(
            "FAIL",
            "Label Studio",
            "label_studio_token is set, label_studio_url is not: set it to the address that the token is for",
        )
        return
    if not settings.label_studio_url:
        yield from _not_set("label_studio_url", project_id)
        return
    try:
        client = label_studio_client(settings)
    except XSamBackendError as error:
        yield Finding("FAIL", "Label Studio", str(error))
        return
    if client is None:
        yield from _not_set("label_studio_token", project_id)
        return
    known = yield from _check_access(client)
    if not known:
        return
    if project_id is None:
        yield Finding("note", "project", "none given: check one with --project ID")
        return
    try:
        project = client.project(project_id)
    except XSamBackendError as error:
        yield Finding("FAIL", "project", str(error))
        return
    yield from check_project(settings, client, project)
    yield from check_connection(settings, client, project_id)


def _not_set(setting: str, project_id: int | None) -> Iterator[Finding]:
    yield Finding("note", "Label Studio", f"{setting} is not set: {WITHOUT_API}")
    if project_id is not None:
        yield Finding("FAIL", "project", f"{project_id} was not looked at: set {setting}")


def _check_access(client: LabelStudioClient) -> Generator[Finding, None, bool]:
    """Returns whether the API can be used."""
    try:
        yield Finding("ok", "Label Studio", f"version {client.version()} at {client.url}")
    except NotFoundError:
        yield Finding(
            "FAIL",
            "Label Studio",
            f"a server answers at {client.url}, but not as Label Studio does (HTTP 404 for /api/version/): set "
            "label_studio_url to Label Studio's own address, with its path if it has one",
        )
        return False
    except XSamBackendError as error:
        yield Finding("FAIL", "Label Studio", f"{error}{_inside_a_container(client.url)}")
        return False
    try:
        user = client.whoami().get("email")
    except XSamBackendError as error:
        yield Finding("FAIL", "token", f"{client.token_kind}: {error}")
        return False
    yield Finding("ok", "token", f"{client.token_kind} of {user}")
    return True


def _inside_a_container(url: str) -> str:
    if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1") and Path("/.dockerenv").exists():
        return (
            ". This is a container, where localhost is the container itself: use the name of Label Studio's service, "
            "such as http://label-studio:8080"
        )
    return ""
