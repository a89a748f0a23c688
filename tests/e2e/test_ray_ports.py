"""Whoever reaches Ray's ports can run code: where it is started for a run on this machine, only this machine can."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e

PROGRAM = """
import json, os, pathlib
from xsam_backend.prelabelling.engines import joined_ray


ray = joined_ray()
assert ray.get(ray.remote(lambda: 7).remote()) == 7
inodes = set()
for process in pathlib.Path("/proc").iterdir():
    if not process.name.isdigit():
        continue
    try:
        # Ray puts its processes into groups and sessions of their own, but hands its environment on.
        if b"OF_THIS_TEST=" + os.environ["OF_THIS_TEST"].encode() not in (process / "environ").read_bytes():
            continue
        links = [os.readlink(one) for one in (process / "fd").iterdir()]
    except OSError:
        continue
    inodes |= {link[8:-1] for link in links if link.startswith("socket:[")}
listening = []
for table in ("tcp", "tcp6"):
    for line in pathlib.Path("/proc/net", table).read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            listening.append(fields[1].rpartition(":")[0])
print(json.dumps(listening))
"""

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""As Linux writes 127.0.0.1, ::ffff:127.0.0.1 and ::1 on the machines that we know."""


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="asks Linux who listens where")
def test_on_one_machine_ray_listens_to_this_machine_only() -> None:
    pytest.importorskip("ray", reason="the extra ray isn't installed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**environment, "OF_THIS_TEST": str(os.getpid())},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    addresses = json.loads(done.stdout.splitlines()[-1])
    assert len(addresses) >= 3, "its store, its scheduler, a worker"
    assert set(addresses) <= LOOPBACK
