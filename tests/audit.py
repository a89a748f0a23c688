"""Do any installed packages have a known vulnerability? Asks pip-audit, and tells "none" from "nobody answered".

pip-audit's exit status doesn't: it is 1 for a vulnerability and for a network that is down, and 0 where a mirror of
PyPI knows no advisories. So its JSON is read. Exit status here: 1 for a vulnerability, 0 for anything else, in words.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SOURCES = ("pypi", "osv")
LIMIT_S = 25

IGNORED: dict[str, str] = {}
"""Advisories that were looked at and don't concern us, each with the reason."""


def ask(source: str) -> str:
    """pip-audit's JSON about this environment; empty if it took too long."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", source, "--format", "json"]
    command += ["--progress-spinner", "off", "--skip-editable", "--timeout", "5"]
    command += [f"--ignore-vuln={name}" for name in IGNORED]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""


def judge(answer: str) -> tuple[int, list[str]]:
    """How many packages an answer is about, and what it says of the vulnerable ones."""
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, []
    audited = [package for package in packages if "vulns" in package and "skip_reason" not in package]
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, mended in "
        + (", ".join(vulnerability.get("fix_versions", ())) or "no version")
        for package in audited
        for vulnerability in package["vulns"]
    ]
    return len(audited), found


def main() -> int:
    """Ask each source until one answers."""
    for source in SOURCES:
        audited, found = judge(ask(source))
        if audited:
            print("\n".join(found) or f"{audited} packages, no known vulnerability ({source})", file=sys.stderr)
            return 1 if found else 0
        print(f"{source}: no advisories to be had from here", file=sys.stderr)
    print("NOT AUDITED: nobody answered for any package", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
