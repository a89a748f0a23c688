"""The image's health check: exit status 0 if the service answers. Standard library only, since it runs often."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

ALIVE = (200, 401)  # 401: it demands basic auth, which this check has no need to know


def status_of(url: str) -> int:
    """HTTP status of a GET. No proxy: the service is in this container."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=4) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def port() -> int:
    """The service's, by the rule of its settings."""
    said = os.environ.get("XSAM_BACKEND_PORT") or "9090"
    return 9090 if said.startswith("tcp://") else int(said)  # Kubernetes's word about a service of our name


if __name__ == "__main__":
    address = f"http://127.0.0.1:{port()}/health"
    try:
        status = status_of(address)
    except OSError as error:
        sys.exit(f"{address}: {error}")
    sys.exit(None if status in ALIVE else f"{address}: HTTP {status}")
