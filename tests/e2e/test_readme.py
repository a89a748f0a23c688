"""The README's commands do what it says: each block in it is either run here or named with where it is run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest
import requests

from xsam_backend.config import ENV_PREFIX, Settings

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = [block.strip() for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)]
DEMO = next((block for block in BLOCKS if block.endswith("xsam-backend demo")), "")
PREDICT = next((block for block in BLOCKS if "xsam-backend predict" in block), "")
ELSEWHERE = {
    "docker compose": "tests/test_containers.py",
    "xsam-backend evaluate": "tests/cli/test_evaluate_command.py",
    "xsam-backend train": "tests/cli/test_train_command.py",
    "models pull": "tests/model/test_hub.py",
    "models convert": "tests/cli/test_models_command.py",
    "label-studio-ml start": "tests/server/test_label_studio_ml.py",
    "xsam-backend doctor --project": "tests/e2e/test_broken_setups.py",
    "xsam-backend doctor --label-config": "tests/cli/test_label_config_told.py",
}
"""What a block has in it -> where that is run, for commands that need the network or another server."""
INSTALLATION_LIMIT_S = 1500
HAS_TINY = (ROOT / "xsam_backend" / "model" / "tiny" / "model.safetensors").is_file()


def test_every_block_is_known() -> None:
    settings = [block for block in BLOCKS if block.startswith("export ")]
    elsewhere = [block for block in BLOCKS if any(command in block for command in ELSEWHERE)]
    known = {DEMO, PREDICT, "bash tests/run", *settings, *elsewhere}
    assert set(BLOCKS) == known, "a new command in the README needs a test here"


def test_what_is_run_elsewhere_is_there() -> None:
    for command, path in ELSEWHERE.items():
        assert any(command in block for block in BLOCKS), command
        assert (ROOT / path).is_file(), path


def test_ci_runs_the_test_command() -> None:
    assert "tests/run" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_settings_in_the_readme_exist() -> None:
    named = set(re.findall(ENV_PREFIX + r"([A-Z_]+)", README))
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_links_lead_somewhere() -> None:
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^##+ (.+)$", README, re.MULTILINE)}
    for link in re.findall(r"\]\(([^)]+)\)", README):
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("http"):
            assert (ROOT / link).exists(), link


@pytest.mark.skipif(not HAS_TINY, reason="the shipped weights are not in this checkout")
def test_predict(tmp_path: Path) -> None:
    arguments = PREDICT.split("xsam-backend ")[1].replace('"red ball"', "red-ball").split()
    arguments = [argument.replace("red-ball", "red ball") for argument in arguments]
    arguments[arguments.index("--output") + 1] = str(tmp_path / "answer.png")
    done = subprocess.run(
        [sys.executable, "-m", "xsam_backend", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "answer.png").stat().st_size > 1000


@pytest.mark.skipif(not HAS_TINY, reason="the shipped weights are not in this checkout")
@pytest.mark.skipif(
    not os.environ.get("TEST_INSTALLATION"), reason="installs everything anew, minutes: set TEST_INSTALLATION=1"
)
def test_the_first_command_on_a_clean_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    environment = os.environ | {ENV_PREFIX + "DATA_DIR": str(tmp_path / "data")}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", DEMO],
            cwd=clone,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    too_late = Timer(INSTALLATION_LIMIT_S, os.killpg, (process.pid, signal.SIGTERM))
    too_late.start()
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "A phrase:" in line:  # the end of what the demo announces
                break
        address = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert address is not None, (tmp_path / "log").read_text()
        assert requests.get(f"{address[0]}/user/login/", timeout=60).ok
    finally:
        too_late.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=120)
