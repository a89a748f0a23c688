"""A stand-in for the Python of the demo's environment: makes environments of itself; its pip does as it's told."""

from __future__ import annotations

from pathlib import Path

_SCRIPT = """#!/bin/sh
case "$*" in
  "-c import pip") exit 0 ;;
  "-m venv "*)
    echo "venv" >> {folder}/calls
    if [ -e {folder}/no-venv ]; then echo "ensurepip is not available" >&2; exit 1; fi
    if [ -e {folder}/while-venv ]; then . {folder}/while-venv; fi
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *)
    shift 2
    echo "$*" >> {folder}/calls
    number=$(grep -c "^\\(install\\|download\\)" {folder}/calls)
    . {folder}/pip-$number ;;
esac
"""


class FakePython:
    """``python`` is the script; ``tell`` says what its pip does at each call, as shell commands; ``calls`` tells."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.python = folder / "python"
        self.python.write_text(_SCRIPT.format(folder=folder))
        self.python.chmod(0o755)

    def tell(self, *commands: str) -> None:
        """One text of shell commands for each call of pip, from the first on. ``$0`` is the environment's Python."""
        for number, text in enumerate(commands, start=1):
            (self._folder / f"pip-{number}").write_text(text)

    def cannot_make_environments(self) -> None:
        (self._folder / "no-venv").touch()

    def while_making_environments(self, commands: str) -> None:
        """Shell commands before an environment is made."""
        (self._folder / "while-venv").write_text(commands)

    @property
    def calls(self) -> list[str]:
        """The first word of each: "venv", "install" or "download"."""
        log = self._folder / "calls"
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []
