"""A Label Studio of the demo's own, in an environment of its own: it pins other versions of much that we use."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from xsam_backend.config import inherited_environment
from xsam_backend.demo.folder import DemoFolder
from xsam_backend.demo.pip import PipError, run_pip
from xsam_backend.demo.processes import tied_to_us
from xsam_backend.demo.progress import Progress
from xsam_backend.errors import DemoError

REQUIREMENTS = Path(str(files("xsam_backend.demo"))) / "label-studio.txt"

ROOM_GB = 2.0
"""Free space that an installation needs: 1.2 GB installed, the rest for downloads and Label Studio's data."""


def pinned_version() -> str:
    """The Label Studio that is installed, such as "1.23.2"."""
    (pin,) = [line for line in REQUIREMENTS.read_text("utf-8").splitlines() if line.startswith("label-studio==")]
    return pin.partition("==")[2].strip()


def install_label_studio(folder: DemoFolder, progress: Progress) -> Path:
    """The ``label-studio`` script, installed if it isn't there yet.

    An installation that was interrupted is continued: packages that are in place stay, downloads are in pip's cache.

    Raises:
        DemoError: no room, no network, or pip failed otherwise.
    """
    script = folder.venv / "bin" / "label-studio"
    complete = folder.venv / "complete"  # written last: what the environment was made of
    wanted = REQUIREMENTS.read_text("utf-8")
    has_python = (folder.venv / "bin" / "python").exists()  # a link, which a new system's Python leaves dangling
    if complete.exists() and complete.read_text("utf-8") == wanted and script.exists() and has_python:
        return script
    _check_room(folder.root)
    with progress.step(f"installing Label Studio {pinned_version()}, once, about 1 GB") as step:
        begun_before = folder.venv.exists()
        arguments = ["install", "-r", str(REQUIREMENTS)]
        step.detail = "preparing its environment"
        python = environment_python(folder)
        try:
            run_pip(python, arguments, folder.logs / "pip.log", step)
        except PipError as error:
            if error.is_from_outside or not begun_before:
                raise
            # What an interruption left half written can be beyond pip's repair.
            step.detail = "beginning anew"
            shutil.rmtree(folder.venv)
            run_pip(environment_python(folder), arguments, folder.logs / "pip.log", step)
        complete.write_text(wanted, "utf-8")
    return script


def environment_python(folder: DemoFolder) -> Path:
    """Python of the demo's environment, which is made if it isn't there or has no working pip.

    Raises:
        DemoError: this Python can't make environments.
    """
    python = folder.venv / "bin" / "python"
    if _works(python):
        return python
    shutil.rmtree(folder.venv, ignore_errors=True)
    command = [sys.executable, "-m", "venv", str(folder.venv)]
    made = subprocess.run(tied_to_us(command), capture_output=True, text=True, env=_plain_environment(), check=False)
    if made.returncode != 0 or not _works(python):
        said = (made.stderr or made.stdout).strip()[-600:]
        raise DemoError(
            f"'{' '.join(command)}' made no environment with pip for Label Studio: on Debian and Ubuntu, "
            f"'apt install python3-venv' adds what is missing. It said: {said or 'nothing'}"
        )
    return python


def _works(python: Path) -> bool:
    if not python.exists():
        return False
    probe = [str(python), "-c", "import pip"]
    return subprocess.run(probe, capture_output=True, env=_plain_environment(), check=False).returncode == 0


def _plain_environment() -> dict[str, str]:
    """Without the variables that would let an environment see other packages."""
    return inherited_environment(without=("PYTHONPATH", "PYTHONHOME"))


def _check_room(root: Path) -> None:
    free_gb = shutil.disk_usage(root).free / 1e9
    if free_gb < ROOM_GB:
        raise DemoError(
            f"{root} is on a disk with {free_gb:.1f} GB free, installing Label Studio takes {ROOM_GB:g} GB: make "
            "room, or give a --data-dir on another disk"
        )
