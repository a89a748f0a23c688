"""The service as docker-compose.yml has it, in a mount namespace: it may write to its data and to /tmp only, is user
10001, and has no capabilities.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from ls_server import free_port
from test_serving import CONFIG, picture

pytestmark = pytest.mark.e2e

USER = 10001

# Arguments: the data folder, the repository, Python's folder, and the one above it that others may not enter ("" if
# there is none; inside, it has nothing but Python); then the command.
READ_ONLY = """
set -e
mount --make-rprivate /
mount --bind "$1" /mnt
mount -t tmpfs tmpfs /tmp
if [ -n "$4" ]; then
  mkdir /tmp/python
  mount --bind "$3" /tmp/python
  mount -t tmpfs -o mode=755 tmpfs "$4"
  mkdir -p "$3"
  mount --bind /tmp/python "$3"
  umount /tmp/python
fi
while read -r _ where kind _; do
  case "$where:$kind" in /mnt:*|/tmp:*|*:proc|*:sysfs|*:devpts|*:mqueue|*:cgroup*|*:devtmpfs|/dev*) ;;
    *) mount -o remount,bind,ro "$where" 2>/dev/null || [ "$where" != / ];; esac
done < /proc/mounts
! touch "$2/touched" 2>/dev/null
shift 4
exec "$@"
"""

NOBODY = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
NOBODY += ("--no-new-privs",)


def namespace(data: Path, *command: str) -> list[str]:
    here, python = str(Path(__file__).parents[2]), Path(sys.base_prefix)
    closed = [folder for folder in python.parents if not folder.stat().st_mode & stat.S_IXOTH]
    places = [str(data), here, str(python), str(closed[-1]) if closed else ""]
    return ["unshare", "--mount", "bash", "-c", READ_ONLY, "read-only", *places, *command]


def told_of(process_id: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_serves_and_learns_of_clicks_on_a_read_only_root_with_no_rights(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    try:
        os.chown(data, USER, USER)
        subprocess.run(namespace(data, *NOBODY, sys.executable, "-c", ""), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the rights to make a mount namespace and to drop rights ({type(error).__name__})")
    port = free_port()
    command = [sys.executable, "-m", "xsam_backend", "serve", "--port", str(port), "--data-dir", "/mnt"]
    environment = {**os.environ, "HOME": "/tmp", "OMP_NUM_THREADS": "1"}
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen(namespace(data, *NOBODY, *command), env=environment, stdout=log, stderr=log)
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
        told = told_of(service.pid)
        assert set(told["Uid"].split()) == {str(USER)}
        assert {int(told[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    finally:
        service.terminate()
        service.wait(60)
    assert service.returncode == 0
    assert (data / "webhook-secret").exists()
    assert "Read-only file system" not in (tmp_path / "log").read_text()
