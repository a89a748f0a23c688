"""How much memory pictures take while they are decoded, measured in processes of their own."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from xsam_backend.labelstudio.decoding import PixelRoom

MB = 2**20

# Prints the most memory that decoding took beyond what was there before, in bytes, and how many were refused. Not
# getrusage: on Linux its largest value is also that of whoever started the process.
MEASURE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xsam_backend.errors import ImageError
from xsam_backend.labelstudio import decoding

def peak():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

def decode(encoded):
    try:
        decoding.decode_image(encoded, max_pixels=80_000_000)
    except ImageError:
        return 1
    return 0

encoded = Path(sys.argv[1]).read_bytes()
times, room = int(sys.argv[2]), int(sys.argv[3])
if room:
    decoding._room = decoding.PixelRoom(room)
before = peak()
with ThreadPoolExecutor(times) as pool:
    refused = sum(pool.map(decode, [encoded] * times))
print(peak() - before, refused)
"""

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux' /proc")


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def measure(encoded: bytes, folder: Path, times: int = 1, room_pixels: int = 0) -> tuple[int, int]:
    file = folder / "picture"
    file.write_bytes(encoded)
    command = [sys.executable, "-c", MEASURE, str(file), str(times), str(room_pixels)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    taken, refused = done.stdout.split()
    return int(taken), int(refused)


SIZE_WH = (5000, 4000)
PIXELS = SIZE_WH[0] * SIZE_WH[1]


@needs_proc
@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        pytest.param("F", "TIFF", {"compression": "tiff_adobe_deflate"}, id="floats"),
        pytest.param("I", "TIFF", {"compression": "tiff_adobe_deflate"}, id="32-bit integers"),
        pytest.param("RGBA", "PNG", {"compress_level": 1}, id="transparency"),
        pytest.param("LA", "PNG", {"compress_level": 1}, id="grey with transparency"),
        pytest.param("CMYK", "JPEG", {}, id="print colours"),
        pytest.param("RGB", "PNG", {"compress_level": 1}, id="plain colours"),
    ],
)
def test_a_large_picture_takes_ten_bytes_a_pixel(
    mode: str, kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    taken, refused = measure(encode(Image.new(mode, SIZE_WH), kind, **options), tmp_path)
    assert not refused
    assert 3 * PIXELS < taken < 10 * PIXELS + 32 * MB


@needs_proc
def test_many_at_once_take_no_more_than_the_room_for_them(tmp_path: Path) -> None:
    encoded = encode(Image.new("RGBA", SIZE_WH), "PNG", compress_level=1)
    taken, refused = measure(encoded, tmp_path, times=6, room_pixels=PIXELS)
    assert not refused
    assert taken < 14 * PIXELS + 64 * MB  # six of them at once take 42 bytes for each pixel of one


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return png[:33] + chunk + png[33:]


@needs_proc
@pytest.mark.parametrize("name", [b"zTXt", b"iCCP", b"iTXt"])
def test_packed_text_takes_no_memory(name: bytes, tmp_path: Path) -> None:
    """A megabyte that unpacks to a thousand, beside the pixels."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"\0" * MB) for _ in range(1000)) + packer.flush()
    content = b"x\0\1\0\0\0" + packed if name == b"iTXt" else b"x\0\0" + packed
    taken, _ = measure(with_chunk(encode(Image.new("RGB", (16, 12)), "PNG"), name, content), tmp_path)
    assert taken < 100 * MB


@needs_proc
@pytest.mark.parametrize("side", [12_000, 60_000, 2**31 - 1])
def test_billions_of_pixels_take_no_memory(side: int, tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * MB)), (b"IEND", b"")):
        body += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    taken, refused = measure(body, tmp_path)
    assert refused == 1
    assert taken < 40 * MB


def test_who_comes_first_is_let_in_first_and_a_giant_alone() -> None:
    room, order = PixelRoom(100), []
    inside = threading.Event()
    leave = threading.Event()

    def hold(pixels: int, name: str) -> None:
        with room.taken(pixels):
            order.append(name)
            if name == "first":
                inside.set()
                leave.wait(20)

    threads = []
    for pixels, name in ((60, "first"), (1000, "giant"), (30, "small")):
        threads.append(threading.Thread(target=hold, args=(pixels, name)))
        threads[-1].start()
        inside.wait(20)
        time.sleep(0.1)
    assert order == ["first"], "the small one would fit, but the giant would wait forever"
    leave.set()
    for thread in threads:
        thread.join(20)
    assert order == ["first", "giant", "small"]
