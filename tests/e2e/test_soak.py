"""The soak of ``benchmarks.soak``, for a minute: nothing acknowledged lost, nothing doubled, no error unexplained."""

from __future__ import annotations

from pathlib import Path

import pytest
from ls_server import BINARY_VARIABLE, find_binary

from benchmarks.faulty_proxy import FAULTS
from benchmarks.soak import in_words, is_good, soak
from benchmarks.soak_faults import ENDS

pytestmark = pytest.mark.e2e

SECONDS = 60.0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the soak looks into Linux's /proc")
def test_a_minute(tmp_path: Path) -> None:
    script = find_binary()
    if script is None:
        pytest.skip(f"Label Studio is not installed: set {BINARY_VARIABLE} to its script")
    report = soak(SECONDS, script.absolute(), tmp_path, seed=1)
    assert is_good(report), in_words(report)
    assert sum(report["faults"].values()) >= 2
    assert set(report["faults"]) <= {
        *ENDS,
        "disk full",
        "inbox held",
        "store held",
        *(f"Label Studio {fault}" for fault in FAULTS),
    }
    assert report["acknowledged"]["events"] > 20
    assert report["acknowledged"]["annotations"] > 2
