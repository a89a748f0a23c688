from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from xsam_backend.errors import ImageError
from xsam_backend.labelstudio.decoding import FORMATS, decode_image, describe_bytes

MAX_PIXELS = 1_000_000


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def quadrants() -> Image.Image:
    """64 x 32: red top left, green top right, blue bottom left, white bottom right."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :32], pixels[:16, 32:], pixels[16:, :32], pixels[16:, 32:] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
    )
    return Image.fromarray(pixels)


def corners(pixels: np.ndarray) -> str:
    """The colours near the four corners, in reading order, as letters."""
    names = {(255, 0, 0): "r", (0, 255, 0): "g", (0, 0, 255): "b", (255, 255, 255): "w"}
    points = [pixels[4, 4], pixels[4, -5], pixels[-5, 4], pixels[-5, -5]]
    return "".join(names[tuple(round(int(value) / 255) * 255 for value in point)] for point in points)


# orientation, corners as they have to look: EXIF 2.32 table 6, "row 0 is ..., column 0 is ..."
ORIENTATIONS = [
    (1, "rgbw", "as stored"),
    (2, "grwb", "mirrored left to right"),
    (3, "wbgr", "turned by 180 degrees"),
    (4, "bwrg", "mirrored top to bottom"),
    (5, "rbgw", "rows are columns"),
    (6, "brwg", "to be turned clockwise: what was left is on top"),
    (7, "wgbr", "rows are columns, turned by 180 degrees"),
    (8, "gwrb", "to be turned counter-clockwise"),
]


class TestOrientation:
    @pytest.mark.parametrize(("orientation", "expected", "reason"), ORIENTATIONS)
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_is_applied_once(self, kind: str, orientation: int, expected: str, reason: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels, found = decode_image(encode(quadrants(), kind, exif=exif), max_pixels=MAX_PIXELS)
        assert corners(pixels) == expected, reason
        assert pixels.shape == ((64, 32, 3) if orientation >= 5 else (32, 64, 3))
        assert found == kind
        assert pixels.flags.c_contiguous

    def test_as_label_studio_reports_it(self) -> None:
        """Recorded: 320 x 240 stored pixels with orientation 6 are 240 wide and 320 high in the editor."""
        exif = Image.Exif()
        exif[0x0112] = 6
        pixels, _ = decode_image(encode(Image.new("RGB", (320, 240)), "JPEG", exif=exif), max_pixels=MAX_PIXELS)
        assert pixels.shape == (320, 240, 3)

    @pytest.mark.parametrize("value", [0, 9, 65535])
    def test_unknown_value_turns_nothing(self, value: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = value
        pixels, _ = decode_image(encode(quadrants(), "JPEG", exif=exif), max_pixels=MAX_PIXELS)
        assert corners(pixels) == "rgbw"

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    def test_broken_exif_is_ignored(self) -> None:
        encoded = encode(quadrants(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
        assert corners(decode_image(encoded, max_pixels=MAX_PIXELS)[0]) == "rgbw"

    def test_xmp_is_not_believed(self) -> None:
        xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
        encoded = encode(quadrants(), "JPEG", xmp=xmp)
        assert corners(decode_image(encoded, max_pixels=MAX_PIXELS)[0]) == "rgbw"


def grey16(kind: str) -> bytes:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    return encode(Image.fromarray(values), kind)


class TestModes:
    @pytest.mark.parametrize("kind", FORMATS)
    def test_every_format(self, kind: str) -> None:
        pixels, found = decode_image(encode(quadrants(), kind), max_pixels=MAX_PIXELS)
        assert found == kind
        assert corners(pixels) == "rgbw"
        assert (pixels.dtype, pixels.shape) == (np.uint8, (32, 64, 3))

    @pytest.mark.parametrize(
        ("mode", "colour", "kind", "expected", "reason"),
        [
            ("L", 100, "PNG", (100, 100, 100), "grey is repeated"),
            ("1", 1, "PNG", (255, 255, 255), "one bit: 0 and 255"),
            ("P", 0, "GIF", (0, 0, 0), "palette is looked up"),
            ("LA", (100, 255), "PNG", (100, 100, 100), "grey, nothing transparent"),
            ("RGBA", (255, 0, 0, 255), "PNG", (255, 0, 0), "colour, nothing transparent"),
            ("RGBA", (255, 0, 0, 0), "PNG", (255, 255, 255), "hidden colours stay hidden: white"),
            ("RGBA", (0, 0, 0, 128), "WEBP", (127, 127, 127), "half transparent black on white"),
            ("CMYK", (0, 255, 255, 0), "JPEG", (254, 0, 0), "print colours"),
            ("I", 7, "TIFF", (0, 0, 0), "a constant has no contrast to stretch"),
        ],
    )
    def test_becomes_rgb(self, mode: str, colour: Any, kind: str, expected: tuple[int, ...], reason: str) -> None:
        encoded = encode(Image.new(mode, (9, 7), colour), kind, **({"lossless": True} if kind == "WEBP" else {}))
        pixels, _ = decode_image(encoded, max_pixels=MAX_PIXELS)
        assert pixels.shape == (7, 9, 3)
        assert np.abs(pixels.astype(int) - expected).max() <= 1, reason

    def test_palette_with_a_transparent_colour(self) -> None:
        image = Image.new("P", (4, 4), 1)
        image.putpalette([255, 0, 0, 0, 255, 0])
        image.putpixel((0, 0), 0)
        pixels, _ = decode_image(encode(image, "PNG", transparency=1), max_pixels=MAX_PIXELS)
        assert pixels[0, 0].tolist() == [255, 0, 0]
        assert pixels[1, 1].tolist() == [255, 255, 255]

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_16_bit_grey_keeps_the_high_byte(self, kind: str) -> None:
        pixels, _ = decode_image(grey16(kind), max_pixels=MAX_PIXELS)
        assert pixels[0, :, 0].tolist() == [0, 0, 1, 128, 255]

    def test_16_bit_grey_is_turned_as_well(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        values = np.array([[0, 65535], [256, 32768]], np.uint16)
        pixels, _ = decode_image(encode(Image.fromarray(values), "PNG", exif=exif), max_pixels=MAX_PIXELS)
        assert pixels[..., 1].tolist() == [[1, 0], [128, 255]]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([[0.0, 0.5, 1.0]], [0, 128, 255]),
            ([[-5.0, float("nan"), 5.0]], [0, 0, 255]),
            ([[float("nan")] * 3], [0, 0, 0]),
            ([[0.0, 1.0, float("inf")]], [0, 255, 255]),
        ],
    )
    def test_floats_are_stretched(self, values: list[list[float]], expected: list[int]) -> None:
        encoded = encode(Image.fromarray(np.array(values, np.float32)), "TIFF")
        assert decode_image(encoded, max_pixels=MAX_PIXELS)[0][0, :, 0].tolist() == expected

    @pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
    def test_first_of_several_frames(self, kind: str) -> None:
        frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
        encoded = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        pixels, found = decode_image(encoded, max_pixels=MAX_PIXELS)
        assert found == kind
        assert np.abs(pixels[4, 4].astype(int) - (255, 0, 0)).max() <= 3

    def test_jpeg_with_a_second_picture_is_a_jpeg(self) -> None:
        frames = [quadrants(), quadrants()]
        encoded = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
        pixels, found = decode_image(encoded, max_pixels=MAX_PIXELS)
        assert (found, corners(pixels)) == ("JPEG", "rgbw")

    @settings(max_examples=40, deadline=None)
    @given(st.data(), st.integers(1, 12), st.integers(1, 12))
    def test_png_gives_back_every_pixel(self, data: st.DataObject, width: int, height: int) -> None:
        raw = data.draw(st.binary(min_size=width * height * 3, max_size=width * height * 3))
        expected = np.frombuffer(raw, np.uint8).reshape(height, width, 3)
        pixels, _ = decode_image(encode(Image.fromarray(expected), "PNG"), max_pixels=MAX_PIXELS)
        assert np.array_equal(pixels, expected)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def bmp_header(width: int, height: int) -> bytes:
    encoded = bytearray(encode(Image.new("RGB", (2, 2)), "BMP"))
    encoded[18:26] = struct.pack("<ii", width, height)
    return bytes(encoded)


class TestRefused:
    @pytest.mark.parametrize(
        ("encoded", "words", "reason"),
        [
            (png_header(60_000, 60_000), "promises 3,600,000,000 pixels, at most 1,000,000", "Pillow's own alarm"),
            (
                bmp_header(60_000, 60_000),
                "promises 3,600,000,000 pixels, at most 1,000,000",
                "BMP without compression",
            ),
            (png_header(10_000, 10_000), "promises", "between Pillow's warning and its alarm"),
            (png_header(1001, 1000), "promises 1,001 x 1,000 pixels, at most 1,000,000", "one row too many"),
            (png_header(1_000_000_000, 1), "promises", "a thread of pixels"),
        ],
    )
    def test_pixels_by_the_header(self, encoded: bytes, words: str, reason: str) -> None:
        with pytest.raises(ImageError, match=words) as caught:
            decode_image(encoded, max_pixels=MAX_PIXELS)
        assert "image_max_megapixels" in str(caught.value), reason

    def test_bound_itself_is_allowed(self) -> None:
        assert decode_image(encode(Image.new("L", (10, 10)), "PNG"), max_pixels=100)[0].shape == (10, 10, 3)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
    def test_truncated(self, kind: str) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        encoded = encode(Image.fromarray(noise), kind)
        with pytest.raises(ImageError, match=r"truncated or damaged|the start of a picture") as caught:
            decode_image(encoded[: len(encoded) // 2], max_pixels=MAX_PIXELS)
        assert "upload it again" in str(caught.value) or "broken header" in str(caught.value)

    @pytest.mark.parametrize(
        ("encoded", "words", "reason"),
        [
            (b"", "an empty file", "nothing at all"),
            (b"<!DOCTYPE html><html><body>Log in</body>", "an HTML page", "a login page"),
            (b"\n <html>", "an HTML page", "without doctype"),
            (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing", "a drawing"),
            (b'<?xml version="1.0"?><!-- x --><svg/>', "an SVG drawing", "with an XML head"),
            (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "XML text", "what S3 says to a bad signature"),
            (b'{"detail": "secret words"}', "JSON text", "an API's error"),
            (b"%PDF-1.7", "a PDF", "a document"),
            (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript", "has an interpreter behind it"),
            (b"8BPS\x00\x01", "a Photoshop file", "not on the list"),
            (b"\x00\x00\x00\x18ftypheic", "HEIC", "an iPhone's photo"),
            (b"\x00\x00\x00\x18ftypmp42", "a video", "a film"),
            (b"PK\x03\x04", "an archive", "zipped pictures"),
            (b"plain words", "text", "neither"),
            (b"\xfe\xed\xfa\xce" * 4, "unknown bytes beginning fe ed fa ce", "neither, not even text"),
            (b"\x89PNG\r\n\x1a\n", "the start of a picture", "cut in the header"),
        ],
    )
    def test_not_a_picture(self, encoded: bytes, words: str, reason: str) -> None:
        with pytest.raises(ImageError, match=words) as caught:
            decode_image(encoded, max_pixels=MAX_PIXELS)
        assert "secret" not in str(caught.value), reason

    @pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "JPEG2000", "EPS"])
    def test_formats_beside_the_list(self, kind: str) -> None:
        with pytest.raises(ImageError, match="expected a picture"):
            decode_image(encode(quadrants(), kind), max_pixels=MAX_PIXELS)

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(FORMATS), st.data())
    def test_damage_never_escapes_as_another_error(self, kind: str, data: st.DataObject) -> None:
        encoded = bytearray(encode(quadrants(), kind))
        for _ in range(data.draw(st.integers(1, 8))):
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
        try:
            pixels, _ = decode_image(bytes(encoded), max_pixels=MAX_PIXELS)
        except ImageError:
            return
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3

    @given(st.binary(max_size=200))
    @example(b"\x00" * 100)
    def test_every_kind_of_bytes_has_words(self, encoded: bytes) -> None:
        assert describe_bytes(encoded)
