"""The only service of a folder knows that it is; beside another one it knows that, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xsam_backend.errors import StoreError
from xsam_backend.server.folder_use import FolderUse


def test_the_first_is_alone_and_those_beside_it_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = FolderUse(tmp_path / "data")
    assert first.is_alone
    assert caplog.text == ""
    first.share()
    second = FolderUse(tmp_path / "data", patience_s=0.2)
    assert not second.is_alone
    assert f"another service uses {tmp_path / 'data'} as well" in caplog.text
    first.close()
    assert not FolderUse(tmp_path / "data", patience_s=0.2).is_alone, "the second is still there"
    second.close()


def test_who_comes_while_the_only_one_cleans_up_waits_for_it(tmp_path: Path) -> None:
    first = FolderUse(tmp_path)
    script = (
        "import sys; from pathlib import Path; from xsam_backend.server.folder_use import FolderUse\n"
        "print(FolderUse(Path(sys.argv[1]), 0.2).is_alone)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        with pytest.raises(subprocess.TimeoutExpired):
            other.communicate(timeout=3)
        first.share()
        assert other.communicate(timeout=30)[0] == "False\n"


def test_what_a_process_held_is_free_after_its_end(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from xsam_backend.server.folder_use import FolderUse\n"
        "use = FolderUse(Path(sys.argv[1])); use.share(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        second = FolderUse(tmp_path, patience_s=0)
        assert not second.is_alone
        second.close()
        other.kill()
    assert FolderUse(tmp_path, patience_s=0).is_alone


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot lock .*may be written"):
        FolderUse(tmp_path / "file")
