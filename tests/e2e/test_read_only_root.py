"""The service where it may write to its data and to /tmp only, as docker-compose.yml has it: in a mount namespace."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from ls_server import free_port
from test_serving import CONFIG, picture

pytestmark = pytest.mark.e2e

READ_ONLY = """
set -e
mount --make-rprivate /
mount --bind "$1" /mnt
mount -t tmpfs tmpfs /tmp
while read -r _ where kind _; do
  case "$where:$kind" in /mnt:*|/tmp:*|*:proc|*:sysfs|*:devpts|*:mqueue|*:cgroup*|*:devtmpfs|/dev*) ;;
    *) mount -o remount,bind,ro "$where" 2>/dev/null || [ "$where" != / ];; esac
done < /proc/mounts
! touch "$2/touched" 2>/dev/null
shift 2
exec "$@"
"""


def namespace(data: Path, *command: str) -> list[str]:
    here = str(Path(__file__).parents[2])
    return ["unshare", "--mount", "bash", "-c", READ_ONLY, "read-only", str(data), here, *command]


def test_it_serves_and_learns_of_clicks_on_a_read_only_root(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    try:
        subprocess.run(namespace(data, "true"), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the right to make a mount namespace ({type(error).__name__})")
    port = free_port()
    command = [sys.executable, "-m", "xsam_backend", "serve", "--port", str(port), "--data-dir", "/mnt"]
    environment = {**os.environ, "HOME": "/tmp", "OMP_NUM_THREADS": "1"}
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen(namespace(data, *command), env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and service.poll() is None:
            try:
                if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                    break
            except requests.RequestException:
                time.sleep(0.2)
        body = {"tasks": [{"id": 1, "data": {"image": picture()}}], "project": "1.2", "label_config": CONFIG}
        answer = requests.post(f"http://127.0.0.1:{port}/predict", json=body, timeout=60)
        assert answer.status_code == 200, (tmp_path / "log").read_text()
        assert "result" in answer.json()["results"][0], answer.text
    finally:
        service.terminate()
        service.wait(60)
    assert service.returncode == 0
    assert (data / "webhook-secret").exists()
    assert "Read-only file system" not in (tmp_path / "log").read_text()
