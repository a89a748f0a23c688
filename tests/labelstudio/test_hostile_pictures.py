"""Pictures made to break whoever opens them."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from xsam_backend.errors import ImageError
from xsam_backend.labelstudio.decoding import decode_image, describe_bytes

MAX_PIXELS = 80_000_000


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.new("RGB", (16, 12), "teal")).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return png[:33] + chunk + png[33:]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("rider", [b"<html><script>alert(1)</script>", b"PK\x03\x04" + b"\0" * 90, b"%PDF-1.7\n"])
def test_what_rides_on_a_picture_is_not_looked_at(kind: str, rider: bytes) -> None:
    """Pixels come out of a polyglot and nothing else; the file itself is served to nobody."""
    pixels, found = decode_image(encoded(kind) + rider, max_pixels=MAX_PIXELS)
    assert (found, pixels.shape) == (kind, (12, 16, 3))


@pytest.mark.parametrize("start", [b"%PDF-1.7\n", b"<svg onload='x'>", b"%!PS\n", b"PK\x03\x04"])
def test_a_picture_that_rides_on_something_else_is_refused(start: bytes) -> None:
    with pytest.raises(ImageError, match="expected a picture"):
        decode_image(start + encoded("PNG"), max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP", b"iTXt"])
def test_packed_text_stays_packed(name: bytes) -> None:
    """A hundred kilobytes that unpack to a hundred megabytes, beside the pixels."""
    packed = zlib.compress(b"\0" * 100_000_000, 9)
    content = b"x\0\1\0\0\0" + packed if name == b"iTXt" else b"x\0\0" + packed
    begun = time.process_time()
    try:
        decode_image(with_chunk(encoded("PNG"), name, content), max_pixels=MAX_PIXELS)
    except ImageError as error:
        assert "truncated or damaged" in str(error)  # noqa: PT017
    assert time.process_time() - begun < 2


def test_of_two_thousand_frames_one_is_decoded() -> None:
    frames = [Image.new("L", (64, 64), shade % 256) for shade in range(2000)]
    many = encoded("GIF", frames[0], save_all=True, append_images=frames[1:])
    begun = time.process_time()
    pixels, _ = decode_image(many, max_pixels=MAX_PIXELS)
    assert time.process_time() - begun < 1
    assert pixels.max() == 0


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP", "TIFF", "JPEG", "PNG"])
def test_a_size_is_refused_by_its_header(kind: str) -> None:
    with pytest.raises(ImageError, match="at most 100 are allowed"):
        decode_image(encoded(kind), max_pixels=100)


def test_a_kilobyte_of_comments_is_described_at_once() -> None:
    """A pattern that could match them in several ways tried all: 2 to the power of 140."""
    begun = time.process_time()
    assert "XML" in describe_bytes(b"<!---->" * 140 + b"<x")
    assert time.process_time() - begun < 1


def test_sixteen_bits_and_print_colours_become_plain_ones() -> None:
    deep = encoded("PNG", Image.fromarray(np.full((3, 4), 0x7F00, np.uint16)))
    print_colours = encoded("JPEG", Image.new("CMYK", (4, 3), (0, 255, 255, 0)))
    for one in (deep, print_colours):
        pixels, _ = decode_image(one, max_pixels=MAX_PIXELS)
        assert (pixels.dtype, pixels.shape) == (np.uint8, (3, 4, 3))
