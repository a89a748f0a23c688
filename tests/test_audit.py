from __future__ import annotations

import json

import audit
import pytest

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
        ([answer(SKIPPED), answer(BAD)], 1, "PYSEC-1"),
        ([answer(SKIPPED), ""], 0, "NOT AUDITED"),
        (["", ""], 0, "NOT AUDITED"),
    ],
    ids=["clean", "vulnerable", "a mirror without advisories", "the other source knows", "the other is down", "none"],
)
def test_an_answer_is_told_from_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: list[str], status: int, said: str
) -> None:
    left = list(answers)
    monkeypatch.setattr(audit, "ask", lambda _source: left.pop(0))
    assert audit.main() == status
    assert said in capsys.readouterr().err


def test_what_is_ignored_has_a_reason() -> None:
    assert all(len(reason) > 20 for reason in audit.IGNORED.values())
