"""Files of data sets: pictures, id maps, folders, and words for what is wrong with them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from dataset_files import write_picture
from PIL import EpsImagePlugin, Image

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.reading import in_format, picture_folder, read_json, read_label_map, read_rgb


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
def test_any_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (10, 8)).save(path)
    picture = read_rgb(path, (8, 10))
    assert (picture.shape, picture.dtype) == ((8, 10, 3), np.uint8)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b"", "empty"),
        (b"hello", "text"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "a PNG's first bytes"),
        (b"\xff\xd8\xff\xe0", "a JPEG's first bytes"),
    ],
)
def test_broken_pictures(tmp_path: Path, written: bytes, reason: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(written)
    with pytest.raises(DatasetError, match=r"a\.png: expected a picture"):
        read_rgb(path)


def test_a_picture_that_would_fill_the_memory(tmp_path: Path) -> None:
    """Some hundred bytes that promise a gigapixel."""
    header = struct.pack(">IIBBBBB", 40_000, 25_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(start + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    with pytest.raises(DatasetError, match="expected a picture: the picture's header promises 1,000,000,000 pixels"):
        read_rgb(tmp_path / "a.png")


def test_grey_of_16_bits_keeps_its_high_byte(tmp_path: Path) -> None:
    """As the service shows it to the model: microscopes write such files, which would be all white otherwise."""
    Image.fromarray(np.full((8, 10), 40_000, np.uint16)).save(tmp_path / "a.png")
    assert (read_rgb(tmp_path / "a.png") == 40_000 >> 8).all()


@pytest.mark.parametrize("read", [read_rgb, lambda path: read_label_map(path, "RGB", (8, 10))])
def test_programs_are_no_pictures(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """PostScript is one: Pillow hands it to Ghostscript, whatever the file is called."""
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 8\n%%EndComments\nshowpage\n")
    with (
        mock.patch.object(EpsImagePlugin, "Ghostscript", side_effect=AssertionError("it is run")) as run,
        pytest.raises(DatasetError, match=r"a\.png: expected a (picture|PNG)"),
    ):
        read(path)
    assert not run.called


@pytest.mark.parametrize(("mode", "stored", "is_read"), [("L", "L", True), ("L", "P", True), ("RGB", "L", False)])
def test_ids_are_taken_as_stored(tmp_path: Path, mode: str, stored: str, is_read: bool) -> None:
    """A palette's colours are for people; the ids are its indices."""
    values = np.arange(80, dtype=np.uint8).reshape(8, 10)
    image = Image.fromarray(values)
    if stored == "P":
        image = image.convert("P")
        image.putpalette([255 - i % 256 for i in range(768)])
    image.save(tmp_path / "a.png")
    if is_read:
        np.testing.assert_array_equal(read_label_map(tmp_path / "a.png", mode, (8, 10)), values)
    else:
        with pytest.raises(DatasetError, match=f"expected a PNG of mode {mode}.*got mode {stored}"):
            read_label_map(tmp_path / "a.png", mode, (8, 10))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("area"), "here: 'area' is missing or unknown: expected a form"),
        (TypeError("no len"), r"here: expected a form, got something else \(no len\)"),
        (IndexError("range"), "got something else"),
        (OverflowError("infinity"), "got something else"),
        (DatasetError("as it was"), "^as it was$"),
    ],
)
def test_words_for_what_is_not_in_the_format(error: Exception, message: str) -> None:
    with pytest.raises(DatasetError, match=message), in_format("here", "a form"):
        raise error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), in_format("here", "a form"):
        1 / 0  # noqa: B018


def test_json_that_is_deeper_than_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(DatasetError, match=r"a\.json: expected JSON"):
        read_json(tmp_path / "a.json")


def test_json_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected a JSON file, it can't be read"):
        read_json(tmp_path)


def test_the_first_folder_that_holds_some_of_the_pictures(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(100)]
    write_picture(tmp_path / "b" / "50.png")
    write_picture(tmp_path / "c" / "50.png")
    folders = [tmp_path / name for name in "abc"]
    assert picture_folder(None, folders, names) == tmp_path / "b"
    assert picture_folder(tmp_path / "c", folders, names) == tmp_path / "c"
    assert picture_folder(None, folders, []) == tmp_path / "a", "no pictures, no matter"
    with pytest.raises(DatasetError, match=r"such as 0\.png in .*a, found none: say in which folder"):
        picture_folder(None, folders[:1], names)
    with pytest.raises(DatasetError, match="found none: check the folder"):
        picture_folder(tmp_path / "a", folders, names)
