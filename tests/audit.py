"""Do any installed packages have a known vulnerability? Asks pip-audit, and tells "none" from "nobody answered".

pip-audit's exit status doesn't: it is 1 for a vulnerability and for a network that is down, and 0 where a mirror of
PyPI knows no advisories. So its JSON is read. Exit status here: 1 for a vulnerability, 0 for anything else, in words
on stderr. That something was not audited is said on stdout too, in one line, which ``tests/run`` repeats at its end:
a pass without it is a pass with an audit.

python tests/audit.py [OSV_URL], the address of another OSV service, to be asked alone
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SOURCES = ("pypi", "osv")
LIMIT_S = 120
OURSELVES = "xsam-backend"

IGNORED: dict[str, str] = {}
"""Advisories that were looked at and don't concern us, each with the reason."""


def ask(source: str, *options: str) -> str:
    """pip-audit's JSON about this environment; empty if it took too long."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", source, "--format", "json"]
    command += ["--progress-spinner", "off", "--skip-editable", "--timeout", "5"]
    command += [f"--ignore-vuln={name}" for name in IGNORED]
    command += options
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""


def judge(answer: str) -> tuple[int, list[str], list[str]]:
    """How many packages an answer is about, what it says of the vulnerable ones, and the names of those that it isn't
    about."""
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, [], []
    audited = [package for package in packages if "vulns" in package and "skip_reason" not in package]
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, mended in "
        + (", ".join(vulnerability.get("fix_versions", ())) or "no version")
        for package in audited
        for vulnerability in package["vulns"]
    ]
    others = [package for package in packages if package not in audited and package["name"] != OURSELVES]
    return len(audited), found, [package["name"] for package in others]


def main(arguments: list[str]) -> int:
    """Ask each source until one answers."""
    asked = [("osv", ("--osv-url", arguments[0]))] if arguments else [(source, ()) for source in SOURCES]
    for source, options in asked:
        audited, found, left_out = judge(ask(source, *options))
        if audited:
            print("\n".join(found) or f"{audited} packages, no known vulnerability ({source})", file=sys.stderr)
            if left_out:
                _loudly(f"NOT AUDITED: {', '.join(left_out)} ({source} doesn't know of them)")
            return 1 if found else 0
        print(f"{source}: no advisories to be had from here", file=sys.stderr)
    _loudly("NOT AUDITED: nobody answered for any package; whether any has a known vulnerability is not known")
    return 0


def _loudly(words: str) -> None:
    print(f"\n{'!' * len(words)}\n{words}\n{'!' * len(words)}\n", file=sys.stderr)
    print(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
