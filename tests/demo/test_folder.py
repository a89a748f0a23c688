from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from xsam_backend.demo.folder import DemoFolder, Memory
from xsam_backend.errors import DemoError


def test_the_login_is_made_up_once_and_for_us_alone(folder: DemoFolder) -> None:
    login = folder.login()
    assert folder.login() == login
    assert DemoFolder(folder.root).login() == login
    assert len(login.token) == 40
    assert int(login.token, 16)
    assert len(login.password) >= 12
    assert stat.S_IMODE((folder.root / "login.json").stat().st_mode) == 0o600
    for private in (folder.label_studio_data, folder.backend_data, folder.logs):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_two_demos_have_two_logins(tmp_path: Path) -> None:
    one, other = DemoFolder(tmp_path / "a").login(), DemoFolder(tmp_path / "b").login()
    assert one.password != other.password
    assert one.token != other.token


@pytest.mark.parametrize("content", ["", "[]", '{"email": "x"}', "not json"])
def test_a_broken_login_says_how_to_begin_again(folder: DemoFolder, content: str) -> None:
    (folder.root / "login.json").write_text(content)
    with pytest.raises(DemoError, match="--fresh"):
        folder.login()


def test_what_is_remembered(folder: DemoFolder) -> None:
    assert folder.remembered() == Memory()
    folder.remember(Memory(8080, 9090, 3))
    assert DemoFolder(folder.root).remembered() == Memory(8080, 9090, 3)


@pytest.mark.parametrize("content", ["", "[]", '{"ports": 1}', '{"project_id": "x"}', "not json"])
def test_a_broken_memory_is_none(folder: DemoFolder, content: str) -> None:
    (folder.root / "memory.json").write_text(content)
    assert folder.remembered() == Memory()


def test_to_forget_keeps_what_is_installed(folder: DemoFolder) -> None:
    login = folder.login()
    folder.remember(Memory(1, 2, 3))
    for path in (folder.venv / "x", folder.photos / "x", folder.label_studio_data / "x", folder.backend_data / "x"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    folder.forget()
    assert (folder.venv / "x").exists()
    assert (folder.photos / "x").exists()
    assert list(folder.label_studio_data.iterdir()) == []
    assert list(folder.backend_data.iterdir()) == []
    assert folder.remembered() == Memory()
    assert folder.login() != login


def _hold(root: Path, held: multiprocessing.Event, done: multiprocessing.Event) -> None:
    with DemoFolder(root).used_by_us():
        held.set()
        done.wait(30)


def test_one_demo_at_a_time(folder: DemoFolder) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(folder.root, held, done))
    other.start()
    try:
        assert held.wait(30)
        said = rf"runs in .* already \(process {other.pid}\).*--data-dir"
        with pytest.raises(DemoError, match=said), folder.used_by_us():
            pass
    finally:
        done.set()
        other.join()
    with folder.used_by_us():  # free again, also after a process that was killed
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DemoError, match=r"file/demo for itself and cannot make it: .*--data-dir"):
        DemoFolder(tmp_path / "file" / "demo")


def test_files_are_json(folder: DemoFolder) -> None:
    folder.login()
    assert set(json.loads((folder.root / "login.json").read_text())) == {"email", "password", "token"}
