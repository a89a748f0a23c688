from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import audit
import pytest
from web_server import WebServer, web_server

CLEAN = {"name": "flask", "version": "3.1.3", "vulns": []}
BAD = {"name": "old", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)"}


def answer(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("answers", "status", "said"),
    [
        ([answer(CLEAN)], 0, "1 packages, no known vulnerability (pypi)"),
        ([answer(CLEAN, BAD)], 1, "old 1.0: PYSEC-1, mended in 1.1"),
        ([answer(SKIPPED), answer(CLEAN, SKIPPED)], 0, "1 packages, no known vulnerability (osv)"),
        ([answer(CLEAN, SKIPPED)], 0, "NOT AUDITED: torch (pypi doesn't know of them)"),
        ([answer(SKIPPED), answer(BAD)], 1, "PYSEC-1"),
        ([answer(SKIPPED), ""], 0, "NOT AUDITED"),
        (["", ""], 0, "NOT AUDITED"),
    ],
    ids=[
        "clean",
        "vulnerable",
        "a mirror without advisories",
        "the other source knows",
        "one left out",
        "the other is down",
        "none",
    ],
)
def test_an_answer_is_told_from_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: list[str], status: int, said: str
) -> None:
    left = list(answers)
    monkeypatch.setattr(audit, "ask", lambda _source: left.pop(0))
    assert audit.main([]) == status
    told = capsys.readouterr()
    assert said in told.err
    assert bool(told.out) == ("NOT AUDITED" in told.err), "what the run repeats at its end"


def test_what_is_ignored_has_a_reason() -> None:
    assert all(len(reason) > 20 for reason in audit.IGNORED.values())


@pytest.fixture
def osv() -> Iterator[WebServer]:
    """An OSV service that knows of nothing."""
    with web_server() as server:
        server.routes["/query"] = (200, {}, b"{}")
        yield server


def run(address: str) -> subprocess.CompletedProcess[str]:
    """As ``tests/run`` does, with the real pip-audit about the real packages."""
    command = [sys.executable, str(Path(audit.__file__)), address]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


def test_a_vulnerable_package_that_is_installed_fails_the_run(osv: WebServer) -> None:
    advisory = {
        "id": "PYSEC-2099-1",
        "affected": [
            {
                "package": {"name": "flask", "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
            }
        ],
    }

    def answer(handler: Any) -> Any:
        asked = json.loads(handler.body)["package"]["name"]
        return 200, {}, json.dumps({"vulns": [advisory]} if asked == "flask" else {}).encode()

    osv.routes["/query"] = answer
    done = run(f"{osv.url}/query")
    assert done.returncode == 1, done.stderr
    assert "PYSEC-2099-1, mended in 99.1" in done.stderr
    assert len(osv.asked) > 50


def test_no_known_vulnerability_passes(osv: WebServer) -> None:
    done = run(f"{osv.url}/query")
    assert done.returncode == 0
    assert "packages, no known vulnerability (osv)" in done.stderr
    assert done.stdout == "", "all were audited, but ourselves"


def test_where_nobody_answers_the_run_says_so_loudly(osv: WebServer) -> None:
    osv.routes["/query"] = (503, {}, b"")
    done = run(f"{osv.url}/query")
    assert done.returncode == 0
    assert done.stdout.startswith("NOT AUDITED: nobody answered")
    assert "!!!!" in done.stderr


def test_the_run_repeats_at_its_end_what_was_not_audited(tmp_path: Path) -> None:
    """Its own lines, with something else in the audit's place and failing tests behind it."""
    lines = (Path(audit.__file__).parent / "run").read_text("utf-8").splitlines()
    (start,) = (number for number, line in enumerate(lines) if "tests/audit.py" in line)
    for python, said, status in (
        ("echo NOT AUDITED: x", "!!! NOT AUDITED: x", 7),
        ("true", "", 7),
        ("exit 1", "", 1),
    ):
        mended = [line.replace(".venv/bin/python tests/audit.py", python) for line in lines[start : start + 2]]
        script = "\n".join(["set -euo pipefail", *mended, "(exit 7)"])
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.strip()) == (status, said)
