"""The service on this machine: whether it runs, whether it is ours, and what failed lately."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

from xsam_backend.cli.checks import Finding
from xsam_backend.config import Settings

Facts = dict[str, Any]
"""What ``/status`` says."""

_TIMEOUT_S = 10.0


def own_address(settings: Settings) -> str:
    """Where the service of these settings is reached from this machine."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def look_up_service(settings: Settings) -> Facts | Finding:
    """The running service's ``/status``; where there is none, what is found instead."""
    address = own_address(settings)
    request = urllib.request.Request(f"{address}/status", headers={"Accept": "application/json"})
    if settings.basic_auth_user is not None and settings.basic_auth_password is not None:
        pair = f"{settings.basic_auth_user}:{settings.basic_auth_password.get_secret_value()}"
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    other = (
        f"stop that program, or give the service another --port and change the address in Label Studio ({address})"
    )
    try:
        with _opener().open(request, timeout=_TIMEOUT_S) as response:
            facts = json.load(response)
            if facts["version"] and "problems" in facts:
                return dict(facts)
    except urllib.error.HTTPError as error:
        if error.code == 401:
            return Finding(
                "FAIL",
                "service",
                f"{address}: user name or password refused: set basic_auth_user and basic_auth_password here as for "
                "the service",
            )
        return Finding("FAIL", "service", f"another program answers at this port (HTTP {error.code}): {other}")
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return Finding("note", "service", f"none runs at {address} (start it with 'serve')")
        return Finding("FAIL", "service", f"{address}: {error.reason}: is --host an address of this machine?")
    except OSError:  # connected, then silence or a cut
        return Finding(
            "FAIL",
            "service",
            f"something listens at {address} and does not answer: the service while it loads its weights, or {other}",
        )
    except (HTTPException, ValueError, KeyError, TypeError):
        pass
    return Finding("FAIL", "service", f"another program answers at this port: {other}")


def check_service(settings: Settings) -> Iterator[Finding]:
    """Its version and the last things that failed."""
    facts = look_up_service(settings)
    if isinstance(facts, Finding):
        yield facts
        return
    yield Finding(
        "ok", "service", f"{facts['version']} at {own_address(settings)}, model version {facts['model_version']}"
    )
    for problem in facts["problems"][:10]:
        yield Finding("note", "service", f"{problem['at']} {problem['where']}: {problem['message']} {problem['id']}")


def answers(url: str) -> bool:
    """Whether a backend is alive at ``url``, seen from here. No login is sent: the address comes from elsewhere."""
    try:
        with _opener().open(f"{url.rstrip('/')}/health", timeout=_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401
    except (HTTPException, OSError, ValueError):
        return False


def _opener() -> urllib.request.OpenerDirector:
    """Goes straight there: a proxy would see other machines under these addresses."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
