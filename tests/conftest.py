"""What every test shares: no settings leak in from the developer's machine, and state goes to a temporary folder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from xsam_backend.config import ENV_PREFIX, Settings, load_settings

# A slow machine is no failure: examples are counted, not timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _stop_signals_are_heard() -> None:
    """Whoever starts the tests in the background may have some ignored, for every process that they start too."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(ENV_PREFIX + "DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The defaults, with state in a temporary folder."""
    return load_settings(data_dir=tmp_path / "data")
