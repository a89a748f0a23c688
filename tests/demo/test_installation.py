"""What happens around pip, with a pip that does as it's told. The real one runs in tests/e2e."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_python import FakePython
from process_states import is_alive, until

from xsam_backend.demo import installation
from xsam_backend.demo.folder import DemoFolder
from xsam_backend.demo.installation import install_label_studio, pinned_version
from xsam_backend.demo.pip import PipError, run_pip
from xsam_backend.demo.progress import Progress, Step
from xsam_backend.errors import DemoError

WORKS = """
echo "Collecting label-studio==1.23.2 (from -r x)"
echo "  Downloading label_studio-1.23.2-py3-none-any.whl (40 MB)"
echo "Installing collected packages: django, label-studio"
touch "$(dirname "$0")/label-studio"
"""


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePython:
    fake = FakePython(tmp_path / "fake")
    monkeypatch.setattr(installation, "sys", SimpleNamespace(executable=str(fake.python)))
    return fake


def test_the_first_time_it_is_installed_and_then_no_more(
    python: FakePython, folder: DemoFolder, progress: Progress
) -> None:
    python.tell(WORKS)
    script = install_label_studio(folder, progress)
    assert script == folder.venv / "bin" / "label-studio"
    assert script.exists()
    assert install_label_studio(folder, progress) == script
    assert python.calls == ["venv", "install"]


def test_another_pin_is_installed_over_it(python: FakePython, folder: DemoFolder, progress: Progress) -> None:
    python.tell(WORKS, WORKS)
    install_label_studio(folder, progress)
    (folder.venv / "complete").write_text("label-studio==1.0\n")
    install_label_studio(folder, progress)
    assert python.calls == ["venv", "install", "install"]


def test_an_interrupted_one_is_continued(python: FakePython, folder: DemoFolder, progress: Progress) -> None:
    python.tell("kill -INT $PPID; exec sleep 600", WORKS)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        install_label_studio(folder, progress)
    assert time.monotonic() - started < 300, "pip is ended with us"
    install_label_studio(folder, progress)
    assert python.calls == ["venv", "install", "install"], "its environment is used again"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
@pytest.mark.parametrize("step", ["pip", "venv"])
def test_what_installs_ends_with_a_demo_that_is_killed(
    step: str, python: FakePython, folder: DemoFolder, tmp_path: Path
) -> None:
    """Else it would go on, and meet the next demo's installation in the same folder."""
    going = f"echo $$ > {tmp_path}/pid.draft; mv {tmp_path}/pid.draft {tmp_path}/pid; exec sleep 600"
    if step == "pip":
        python.tell(going)
    else:
        python.while_making_environments(going)
    program = (
        "import sys; from pathlib import Path; from types import SimpleNamespace\n"
        "from xsam_backend.demo import installation; from xsam_backend.demo.folder import DemoFolder\n"
        "from xsam_backend.demo.progress import Progress\n"
        f"installation.sys = SimpleNamespace(executable={str(python.python)!r})\n"
        f"installation.install_label_studio(DemoFolder(Path({str(folder.root)!r})), Progress())"
    )
    demo = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    pid = tmp_path / "pid"
    until(pid.exists)
    installer = int(pid.read_text())
    assert is_alive(installer)
    demo.kill()
    demo.wait()
    until(lambda: not is_alive(installer))


def test_an_environment_whose_python_is_gone_is_made_anew(
    python: FakePython, folder: DemoFolder, progress: Progress
) -> None:
    """As after an update of the system: the environment's Python was a link to a version that is no more."""
    python.tell(WORKS, WORKS)
    install_label_studio(folder, progress)
    (folder.venv / "bin" / "python").unlink()
    (folder.venv / "bin" / "python").symlink_to("/no/such/python3.9")
    script = install_label_studio(folder, progress)
    assert script.exists()
    assert python.calls == ["venv", "install", "venv", "install"]


def test_what_an_interruption_broke_is_made_anew(python: FakePython, folder: DemoFolder, progress: Progress) -> None:
    python.tell("kill -9 $$", "echo 'no RECORD file was found for django'; exit 1", WORKS)
    with pytest.raises(PipError):
        install_label_studio(folder, progress)
    install_label_studio(folder, progress)
    assert python.calls == ["venv", "install", "install", "venv", "install"]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "the disk is full",
        ),
        ("WARNING: Retrying: NewConnectionError('...')\nERROR: No matching distribution found for x", "the network"),
        ("ERROR: Could not find a version that satisfies x (from versions: none)", "cannot reach its package index"),
        ("ERROR: ReadTimeoutError: Read timed out.", "what was downloaded is kept"),
        ("ERROR: No matching distribution found for label-studio==1.23.2", "has no label-studio==1.23.2 for this"),
        ("ERROR: Failed building wheel for x", "exit status 1. The end of its log"),
    ],
    ids=[
        "disk full",
        "no network",
        "no network, told by nothing else",
        "slow network",
        "not in the index",
        "anything else",
    ],
)
def test_a_failure_in_words(
    python: FakePython, folder: DemoFolder, progress: Progress, output: str, words: str
) -> None:
    python.tell(f"cat <<'END'\n{output}\nEND\nexit 1")
    with pytest.raises(PipError, match=words) as failure:
        install_label_studio(folder, progress)
    assert str(folder.logs / "pip.log") in str(failure.value)
    assert python.calls == ["venv", "install"], "nothing is gained by trying again at once"


def test_no_room(python: FakePython, folder: DemoFolder, progress: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0.3e9))
    with pytest.raises(DemoError, match=r"0\.3 GB free, installing Label Studio takes 2 GB: make room"):
        install_label_studio(folder, progress)
    assert python.calls == []


def test_a_python_that_makes_no_environments(python: FakePython, folder: DemoFolder, progress: Progress) -> None:
    python.cannot_make_environments()
    with pytest.raises(DemoError, match=r"apt install python3-venv.*ensurepip is not available"):
        install_label_studio(folder, progress)


def test_pip_is_told_where_to_install_by_us_alone(
    python: FakePython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables of the user's that send packages elsewhere are not passed on; a mirror's address is."""
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    python.tell('echo "$PIP_TARGET$PYTHONPATH $PIP_INDEX_URL $*"')
    run_pip(python.python, ["install", "x"], tmp_path / "log", Step("installing"))
    said = (tmp_path / "log").read_text().split()
    assert said[:3] == ["https://mirror.example/simple", "install", "x"]
    assert "--no-input" in said


def test_the_step_says_what_pip_does(python: FakePython, tmp_path: Path) -> None:
    details: list[str] = []

    class Told(Step):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "detail":
                details.append(str(value() if callable(value) else value))
            super().__setattr__(name, value)

    python.tell(WORKS)
    run_pip(python.python, ["install", "x"], tmp_path / "log", Told("installing"))
    assert details[1:] == [
        "package 1, label-studio==1.23.2",
        "package 1, downloading label_studio-1.23.2-py3-none-any.whl (40 MB)",
        "unpacking, 0 of 2 packages",
    ]


def test_the_pin_is_the_one_that_the_tests_use() -> None:
    requirements = (Path(__file__).parents[1] / "requirements-label-studio.txt").read_text()
    assert "-r ../xsam_backend/demo/label-studio.txt" in requirements
    assert pinned_version().count(".") == 2
