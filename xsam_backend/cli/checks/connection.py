"""The way back, from Label Studio to the service: asked of Label Studio itself.

Listing a project's backends makes Label Studio call ``/health`` and ``/setup`` of each. Whether the calls arrived at
*this* service shows in its count of setups; where they did not, Label Studio says only "disconnected", so the reason
is worked out from what can be seen from here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from xsam_backend.cli.checks import Finding
from xsam_backend.cli.checks.service import Facts, answers, look_up_service, own_address
from xsam_backend.config import Settings
from xsam_backend.errors import XSamBackendError
from xsam_backend.labelstudio.client import LabelStudioClient, Row
from xsam_backend.labelstudio.egress import is_public, redacted, resolve_host

CONNECTED = {"CO", "TR", "PR"}
"""Label Studio's states in which it reaches a backend: connected, training, predicting."""

PRIVATE = (
    "Label Studio refuses backends on private addresses, as this one is, unless it runs with "
    "LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false: start it so"
)


def check_connection(settings: Settings, client: LabelStudioClient, project_id: int) -> Iterator[Finding]:
    """Whether Label Studio reaches the service, through which of the project's backends."""
    before = look_up_service(settings)
    try:
        rows = client.ml_backends(project_id)
    except XSamBackendError as error:
        yield Finding("FAIL", "backend", str(error))
        return
    after = look_up_service(settings)
    if not rows:
        yield Finding(
            "FAIL",
            "backend",
            "the project has none: Settings, Model, Connect Model, with the address by which Label Studio reaches "
            f"this service (here it is {own_address(settings)}). Should it answer that the address is private or "
            "reserved: it has to run with LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false, and for its webhooks with "
            "LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false",
        )
        return
    connected = sum(row.get("state") in CONNECTED for row in rows)
    for row in rows:
        if row.get("state") in CONNECTED:
            yield from _connected(settings, row, connected, before, after)
        elif row.get("state") == "ER":
            yield Finding(
                "FAIL",
                "backend",
                f"{_name(row)}: answers, but its setup failed: {str(row.get('error_message'))[:300]}: look into the "
                "log of what runs there",
            )
        else:
            yield Finding(
                "FAIL", "backend", f"{_name(row)}: Label Studio does not reach it: {_reason(settings, row)}"
            )
    if sum(bool(row.get("is_interactive")) for row in rows) > 1:
        yield Finding("note", "backend", "several are interactive: the labeling page uses the first of them only")


def _name(row: Row) -> str:
    return f"'{row.get('title')}' at {redacted(str(row.get('url')))}"


def _connected(
    settings: Settings, row: Row, connected: int, before: Facts | Finding, after: Facts | Finding
) -> Iterator[Finding]:
    """One of ``connected`` rows. Each of those that is this service has raised its count of setups by one."""
    own = own_address(settings)
    if isinstance(before, Finding) or isinstance(after, Finding):
        yield Finding(
            "note",
            "backend",
            f"{_name(row)} is connected; whether it is this service can't be told, since none answers at {own}",
        )
    elif (heard := after.get("setups", 0) - before.get("setups", 0)) >= connected:
        yield Finding("ok", "backend", f"{_name(row)}: Label Studio reaches this service")
    elif heard > 0:
        yield Finding(
            "FAIL",
            "backend",
            f"{_name(row)}: of {connected} connected backends {heard} is this service at {own}: take the other ones "
            "away in the project's model settings, or change their address",
        )
    else:
        yield Finding(
            "FAIL",
            "backend",
            f"{_name(row)} is connected, but it is another backend than this service at {own}: change its address in "
            "the project's model settings",
        )
    if not row.get("is_interactive"):
        yield Finding(
            "note",
            "backend",
            f"{_name(row)}: 'Interactive preannotations' is off, so smart tools send nothing: switch it on in the "
            "project's model settings",
        )


def _reason(settings: Settings, row: Row) -> str:
    """Why a backend is out of Label Studio's reach, and what to change."""
    url = str(row.get("url"))
    parts = urlsplit(url)
    own = own_address(settings)
    here = not isinstance(look_up_service(settings), Finding)
    if not answers(url):
        if here and (parts.port or {"http": 80, "https": 443}.get(parts.scheme)) != settings.port:
            return f"nobody answers there, from here neither. This service is at {own}: change the address"
        if here and _is_loopback(settings.host):
            return (
                f"this service listens on {settings.host} only: start it with --host 0.0.0.0, or with the address "
                "in question"
            )
        return "nobody answers there, from here neither: start the service, or correct the address"
    if settings.basic_auth_user is not None and row.get("basic_auth_user") != settings.basic_auth_user:
        return "it demands a user name and a password: enter them in Label Studio's form of this backend"
    if _is_loopback(parts.hostname or "") and not _is_loopback(
        urlsplit(settings.label_studio_url or "").hostname or ""
    ):
        return (
            "it answers from here, but on Label Studio's machine this address means that machine: give the address "
            "by which it reaches this one, and start the service with --host 0.0.0.0"
        )
    if _is_private(parts.hostname or ""):
        return f"it answers from here. {PRIVATE}. If it does already, a firewall is between them"
    return "it answers from here: look for a firewall or proxy between Label Studio's machine and this address"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_private(host: str) -> bool:
    try:
        return not all(is_public(ipaddress.ip_address(address)) for address in resolve_host(host, 80))
    except (OSError, ValueError):
        return False
