"""Encoded bytes to pixels, for bytes that nobody vouches for.

The file's own bytes decide what it is, never a name or a content type. Only raster formats are tried; SVG, PDF, PSD
and EPS have interpreters behind them and stay out.

A large picture takes seven bytes a pixel while it is decoded: four of Pillow's, three of the result. Nothing else is
as large as the picture: colours are converted strip by strip. How many pixels may be decoded at once, by all threads
together, is bounded.
"""

from __future__ import annotations

import io
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from xsam_backend.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")

Pixels = NDArray[np.uint8]

MOST_PIXELS_AT_ONCE = 160_000_000
"""Of all pictures that are being decoded in a process: about 1.1 GB."""

_STRIP_PIXELS = 1_000_000

# In one piece, the memory of a large picture goes back to the system. In Pillow's pieces of 16 MB, malloc keeps it
# for the thread that had it: for each of them, as much as its largest picture took.
Image.core.set_block_size(512 * 2**20)  # type: ignore[attr-defined]

# What EXIF says about how the stored rows and columns have to be turned to look right.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}

# How files begin that people take for pictures, in the words of the message about them. Each pattern can match in one
# way only: one that tries several takes years over a kilobyte of comments.
_COMMENTS = rb"(<!--(?:(?!-->).)*-->\s*)*"
_OTHER_FILES = (
    (
        rb"\s*(<\?xml[^>]*>\s*)?(<!--(?:(?!-->).)*-->\s*)*(<!doctype svg[^>]*>\s*)?<svg",
        "an SVG drawing: export it as PNG",
    ),
    (rb"\s*(<!doctype\s+html|<html|<head|<body)", "an HTML page, often a login page: open the address in a browser"),
    (rb"\s*<", "XML text, often a storage's error message: check the address and its permissions"),
    (rb"\s*[\[{]", "JSON text, often an error message: check the address"),
    (rb"%PDF", "a PDF: export its pages as PNG"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript: export it as PNG"),
    (rb"8BPS", "a Photoshop file: export it as PNG"),
    (rb".{4}ftyp(heic|heix|mif1|msf1|avif|avis)", "a HEIC or AVIF picture: convert it to JPEG or PNG"),
    (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture: convert it to JPEG or PNG"),
    (rb".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI ", "a video: import its frames as pictures"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf", "an archive: unpack it and import the pictures"),
    (rb"II\*\x00|MM\x00\*|\xff\xd8\xff|\x89PNG|GIF8|BM|RIFF.{4}WEBP", "the start of a picture with a broken header"),
)


class PixelRoom:
    """Lets threads decode so many pixels at once; the others wait, first come, first served. Nobody is refused: one
    picture larger than the room has it alone.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = self._left = pixels
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Hold room for a picture of so many pixels."""
        share, place = min(pixels, self._pixels), object()
        with self._changed:
            self._queue.append(place)
            try:
                self._changed.wait_for(lambda: self._queue[0] is place and self._left >= share)
                self._left -= share
            finally:
                self._queue.remove(place)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._left += share
                self._changed.notify_all()


_room = PixelRoom(MOST_PIXELS_AT_ONCE)


def decode_image(encoded: bytes, *, max_pixels: int) -> tuple[Pixels, str]:
    """The picture as a browser shows it, and its format (one of ``FORMATS``).

    Returns uint8 (H, W, 3) RGB, own memory. EXIF orientation is applied, once. Of several frames or pages the first
    is taken. Transparent pixels lie on white. 16-bit grey keeps its high byte, as in browsers; 32-bit integers and
    floats, which browsers don't show, are stretched from their smallest to their largest value. ICC profiles and the
    low byte of 16-bit colours are lost.

    Raises:
        ImageError: not a picture of these formats, truncated, or its header promises more than ``max_pixels``.
    """
    if not encoded:
        raise ImageError("expected a picture, got an empty file: upload it again")
    try:
        return _decode(encoded, max_pixels)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = re.search(r"\d+", str(error))
        raise _too_large(f"{int(count[0]) if count else 0:,} pixels", max_pixels) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"expected a picture ({', '.join(FORMATS)}), got {describe_bytes(encoded)}") from error
    except MemoryError as error:
        raise ImageError("the picture doesn't fit into memory: shrink it or give the service more") from error
    except Exception as error:
        # Decoders raise whatever a broken file makes them raise: OSError, SyntaxError, zlib.error, struct.error, ...
        raise ImageError(
            f"the picture is truncated or damaged ({len(encoded):,} bytes; decoder: {error}): upload it again"
        ) from error


def _decode(encoded: bytes, max_pixels: int) -> tuple[Pixels, str]:
    """As ``decode_image``, with all the errors that decoders have."""
    image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    width, height = image.size
    _check_size((width, height), max_pixels)
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # MPO: a JPEG with previews behind it
    with _room.taken(width * height):
        image.load()
        turn = _TURNS.get(_exif_orientation(image))
        pixels = _to_rgb(image)
        del image  # its pixels go before there are turned ones
        return (np.ascontiguousarray(turn(pixels)) if turn else pixels), kind


def describe_bytes(encoded: bytes) -> str:
    """What bytes that are no readable picture seem to be, and what to do about it."""
    head = encoded[:1024]
    for pattern, words in _OTHER_FILES:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return words
    try:
        head[:64].decode("utf-8")
    except UnicodeDecodeError:
        return f"unknown bytes beginning {head[:8].hex(' ')}: convert the file to JPEG or PNG"
    return f"text ({len(encoded):,} bytes): check the address"


def _check_size(size_wh: tuple[int, int], max_pixels: int) -> None:
    width, height = size_wh
    if width < 1 or height < 1:
        raise ImageError(f"expected a picture with pixels, got {width} x {height}: upload it again")
    if width * height > max_pixels:
        raise _too_large(f"{width:,} x {height:,} pixels", max_pixels)


def _too_large(promised: str, max_pixels: int) -> ImageError:
    return ImageError(
        f"the picture's header promises {promised}, at most {max_pixels:,} are allowed: "
        "shrink or cut the picture, or raise image_max_megapixels"
    )


def _exif_orientation(image: Image.Image) -> int:
    """1 to 8; 1 without EXIF. Read from EXIF alone: Pillow's ``getexif`` also believes XMP, browsers don't.

    A TIFF has no EXIF block; its own orientation tag is applied by Pillow while loading.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        value = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block is no reason to refuse the picture; browsers ignore it as well
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> Pixels:
    """uint8 (H, W, 3) of a loaded image in any of Pillow's modes, not yet turned."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    to_rgb = _stretching(image, rows) if image.mode in ("I", "F") else _strip_to_rgb
    for top in range(0, height, rows):
        pixels[top : top + rows] = to_rgb(_strip(image, top, rows))
    return pixels


def _strip(image: Image.Image, top: int, rows: int) -> Image.Image:
    return image.crop((0, top, image.width, min(top + rows, image.height)))


def _strip_to_rgb(strip: Image.Image) -> Pixels:
    """uint8 (H, W, 3), or (H, W, 1) of a grey one."""
    if strip.mode.startswith("I;16"):
        return (np.asarray(strip) >> 8).astype(np.uint8)[:, :, None]
    if strip.has_transparency_data:
        over = strip.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        return np.asarray(Image.alpha_composite(white, over).convert("RGB"))
    return np.asarray(strip.convert("RGB"))


def _stretching(image: Image.Image, rows: int) -> Callable[[Image.Image], Pixels]:
    """A function from a strip of 32-bit values to uint8 (H, W, 1).

    The picture's smallest finite value becomes 0, its largest 255; not a number counts as the smallest.
    """
    low, high = np.inf, -np.inf
    for top in range(0, image.height, rows):
        values = np.asarray(_strip(image, top, rows))
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        low = high = 0.0
    factor = 255.0 / (high - low) if high > low else 0.0

    def stretched(strip: Image.Image) -> Pixels:
        values = np.nan_to_num(np.asarray(strip, dtype=np.float64), nan=low, posinf=high, neginf=low)
        scaled: Pixels = np.rint((values - low) * factor).astype(np.uint8)
        return scaled[:, :, None]

    return stretched
