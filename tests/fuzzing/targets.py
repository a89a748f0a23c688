"""A target for each parser of outside data: real inputs to begin with, what is done with one, and what it may raise.

A bug is any other exception, an answer that takes the processor longer than ``SLOW_S`` or is waited for longer than
``LATE_S``, or more memory than ``MOST_MB`` for one.
"""

from __future__ import annotations

import io
import json
import resource
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import strategies as st
from mutations import HOSTILE_TEXTS, changed_bytes, changed_json
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from app_parts import MemoryImages, services_of
from fake_predictor import FakePredictor

from xsam_backend.config import load_settings
from xsam_backend.errors import ImageError, RequestError, XSamBackendError
from xsam_backend.geometry.brush_rle import brush_rle_to_mask, mask_to_brush_rle
from xsam_backend.geometry.coco_rle import coco_rle_area, coco_rle_to_mask, mask_to_coco_rle
from xsam_backend.labelstudio.annotations import read_annotation
from xsam_backend.labelstudio.context import batch_prompts, interactive_request
from xsam_backend.labelstudio.decoding import decode_image
from xsam_backend.labelstudio.egress import FetchPolicy, redacted
from xsam_backend.labelstudio.images import ImageSource
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.learning.collecting import Collector
from xsam_backend.server.app import create_app
from xsam_backend.server.auth import WEBHOOK_HEADER
from xsam_backend.server.protocol import read_json
from xsam_backend.store.inbox import Event
from xsam_backend.store.projects import ProjectKey

TESTS = Path(__file__).parents[1]
RECORDED = TESTS / "recorded" / "label_studio"
SIZE_HW = (24, 32)

SLOW_S = 5.0
LATE_S = 60.0
"""Much longer: other programs may have the processor."""

MOST_MB = 400


@dataclass(frozen=True)
class Target:
    """``inputs`` are JSON values or bytes; ``run`` raises where something is wrong, but for ``allowed``."""

    inputs: st.SearchStrategy[Any]
    run: Callable[[Any], object]
    allowed: tuple[type[Exception], ...] = (XSamBackendError,)

    def try_one(self, value: Any) -> None:
        """Run it on one input.

        Raises:
            AssertionError: it took too long or too much. Exception: whatever else is wrong.
        """
        before_mb, begun, begun_at = _peak_mb(), time.process_time(), time.monotonic()
        with suppress(*self.allowed):
            self.run(value)
        took_s, late_s, took_mb = time.process_time() - begun, time.monotonic() - begun_at, _peak_mb() - before_mb
        assert took_s < SLOW_S, f"took {took_s:.1f} s of the processor"
        assert late_s < LATE_S, f"took {late_s:.1f} s"
        assert took_mb < MOST_MB, f"took {took_mb:.0f} MB"


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _bodies(start: str) -> list[Any]:
    files = sorted(RECORDED.glob(f"{start}*.json"))
    return [json.loads(file.read_text("utf-8"))["request"]["body"] for file in files]


PREDICTS = _bodies("predict_") + _bodies("interactive_")
CONTEXTS = [(body["label_config"], body["params"]["context"]) for body in _bodies("interactive_")]
SETUPS = _bodies("connect_2") + _bodies("setup_")
EVENTS = _bodies("webhook_")
CONFIGS = [file.read_text("utf-8") for file in sorted(RECORDED.glob("label_configs/*.xml"))] + [
    file.read_text("utf-8") for file in sorted((TESTS.parent / "label_configs").glob("*.xml"))
]
RESULTS = [
    row["result"] for row in json.loads((RECORDED / "result_variants.json").read_text("utf-8"))["rows"].values()
]


@lru_cache(1)
def _client() -> Any:
    """An application with the fake predictor and pictures from memory, for as long as the process lives."""
    folder = TemporaryDirectory(prefix="fuzzing-")
    settings = load_settings(data_dir=Path(folder.name), train_worker=False, webhook_secret="fuzzing" * 8)
    app = create_app(settings, FakePredictor(), MemoryImages())  # type: ignore[arg-type]
    services = services_of(app)
    services.collecting.close()  # events are taken here, where it shows what they do
    client = app.test_client()
    client.folder = folder
    client.collector = Collector(
        services.projects, services.tasks, services.annotations, services.predictions, settings.instance
    )
    client.secrets = services.webhooks._secrets
    return client


def _post(path: str, body: Any, **headers: str) -> Any:
    raw = json.dumps(body, separators=(",", ":")).encode()
    answer = _client().post(path, data=raw, headers={"Content-Type": "application/json", **headers})
    assert answer.status_code < 500, answer.text
    return answer


def run_predict(body: Any) -> None:
    answer = _post("/predict", body)
    if answer.status_code == 200:
        ours = [entry for entry in answer.get_json()["results"] if entry.get("id")]
        assert not ours, ours


def run_setup(body: Any) -> None:
    _post("/setup", body)
    _post("/validate", {"config": body.get("schema") if isinstance(body, dict) else body})


def run_webhook(body: Any) -> None:
    headers = {}
    project = body.get("project") if isinstance(body, dict) else None
    with suppress(RequestError):
        headers[WEBHOOK_HEADER] = _client().secrets.of(ProjectKey.from_webhook("local", project))
    if _post("/webhook", body, **headers).status_code != 201:
        return
    key = str(ProjectKey.from_webhook("local", project)) if headers else None
    for verified in (True, False):
        event = Event(1, str(body["action"]), key, verified, body, datetime.now(timezone.utc))
        with suppress(XSamBackendError):
            _client().collector.take_event(event)


def run_config(xml: bytes) -> None:
    config = LabelConfig.parse(xml.decode("utf-8", "replace"))
    config.addresses({"image": "a.png", "images": ["a.png"]})
    batch_prompts(config)


def run_context(context: Any) -> None:
    config = LabelConfig.parse(CONTEXTS[context["config"] % len(CONTEXTS)][0])
    interactive_request(config, context["context"], SIZE_HW)


def run_result(result: Any) -> None:
    if isinstance(result, list):
        read_annotation(result, SIZE_HW)


def run_brush(rle: bytes) -> None:
    mask = brush_rle_to_mask(list(rle), SIZE_HW)
    assert mask.shape == SIZE_HW


def run_coco(coco_rle: Any) -> None:
    if isinstance(coco_rle, dict):
        mask = coco_rle_to_mask(coco_rle)
        assert mask.sum() == coco_rle_area(coco_rle)


def run_picture(encoded: bytes) -> None:
    pixels, _ = decode_image(encoded, max_pixels=1_000_000)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


def run_body(raw: bytes) -> None:
    json.dumps(read_json(raw), allow_nan=False)


@lru_cache(1)
def _images() -> tuple[ImageSource, TemporaryDirectory[str]]:
    """A source that may read below one folder, and whose every host is a private address."""
    folder = TemporaryDirectory(prefix="fuzzing-")
    root = Path(folder.name) / "root"
    root.mkdir()
    (root / "a.png").write_bytes(b"inside")
    (Path(folder.name) / "b.png").write_bytes(b"outside")
    (root / "way").symlink_to(folder.name)

    def resolver(host: str, _port: int) -> list[str]:
        if host == "labels.example":
            raise socket.gaierror(-2, "nobody is to be asked here")
        return ["10.0.0.1", "::1", "::ffff:127.0.0.1"]

    policy = FetchPolicy("http://labels.example:8080", "hush-token", local_root=root)
    return ImageSource(policy, resolver=resolver), folder


def run_address(raw: bytes) -> None:
    address = raw.decode("utf-8", "replace")
    assert "\n" not in redacted(address)
    read, said = b"inside", ""
    try:
        read = _images()[0].read(address, 7)
    except ImageError as error:
        said = str(error)
    assert ":hush" not in said or "@" not in address
    assert "hush-token" not in said
    assert read == b"inside" or address.strip()[:5].lower() == "data:", read


def _pictures() -> list[bytes]:
    made = []
    shades = Image.fromarray(np.arange(16 * 12 * 3, dtype=np.uint16).astype(np.uint8).reshape(12, 16, 3))
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"):
        for mode in ("RGB", "L", "P", "CMYK", "I;16", "RGBA"):
            buffer = io.BytesIO()
            with suppress(OSError, ValueError, KeyError):
                exif = {
                    "exif": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06"
                }
                image = Image.new("I;16", (9, 7), 700) if mode == "I;16" else shades.convert(mode)
                image.save(buffer, kind, **(exif if kind == "JPEG" else {}))
                made.append(buffer.getvalue())
    frames = io.BytesIO()
    shades.save(frames, "GIF", save_all=True, append_images=[shades.rotate(90, expand=True)] * 2)
    return [*made, frames.getvalue()]


def _mask() -> np.ndarray:
    mask = np.zeros(SIZE_HW, bool)
    mask[3:9, 4:20] = mask[12, 1] = True
    return mask


XML_PIECES = tuple(
    piece.encode()
    for piece in (
        *(
            "<",
            ">",
            "/>",
            '"',
            "<View>",
            "</View>",
            '<Label value="a"/>',
            "<!DOCTYPE x [<!ENTITY e 'x'>]>",
            "&e;",
            "&#0;",
        ),
        *(
            'model_task="vgd"',
            'model_task="panoptic"',
            'model_score_threshold="nan"',
            'toName="image"',
            'value="$a[0].b"',
        ),
        *('smart="true"', 'perRegion="true"', 'valueList="$images"', 'predicted_values=",,"', "<![CDATA[", "<?xml?>"),
        *(
            'name=""',
            "<Labels",
            "<Image",
            "<TextArea",
            "<BrushLabels",
            'model_output="true"',
            'model_background="true"',
        ),
    )
)
ADDRESSES = tuple(
    address.encode()
    for address in (
        *("http://example.com/a.png", "https://example.com:8443/a?b=c#d", "/data/upload/8/a.png", "a.png"),
        *("/data/local-files/?d=a.png", "file:///etc/passwd", "s3://bucket/dir/a.png", "data:image/png;base64,aGk="),
        *("http://user:hush@example.com/", "http://[::ffff:127.0.0.1]:80/", "http://2130706433/", "http://0x7f.1/"),
        *(
            "http://labels.example:8080/data/local-files/?d=../b.png",
            "/data/local-files/?d=way/b.png",
            "upload/8/a.png",
        ),
    )
)
ADDRESS_PIECES = tuple(
    piece.encode()
    for piece in (
        "../",
        "%2e%2e/",
        "..%2f",
        "way/",
        "b.png",
        "@",
        "\\",
        "//",
        "[",
        "]",
        "%",
        "%00",
        "?",
        "#",
        ":",
        "？",
        "．",
    )
) + tuple(text.encode()[:50] for text in HOSTILE_TEXTS)

TARGETS = {
    "predict bodies": Target(changed_json(PREDICTS), run_predict, ()),
    "setup bodies": Target(changed_json(SETUPS), run_setup, ()),
    "webhooks": Target(changed_json(EVENTS), run_webhook, ()),
    "contexts": Target(
        st.builds(
            lambda number, context: {"config": number, "context": context},
            st.integers(0, len(CONTEXTS) - 1),
            changed_json([context for _, context in CONTEXTS]).filter(lambda one: isinstance(one, dict)),
        ),
        run_context,
    ),
    "regions": Target(changed_json(RESULTS), run_result, ()),
    "label configs": Target(changed_bytes([xml.encode() for xml in CONFIGS], XML_PIECES), run_config),
    "JSON": Target(
        changed_bytes(
            [json.dumps(body).encode()[:3000] for body in SETUPS] + [b'{"a": [1, 2.5, "b", null]}'],
            (
                b"NaN",
                b"Infinity",
                b"1e999",
                b"-",
                b'"',
                b"\\ud800",
                b"[" * 100,
                b'{"a":' * 70,
                b"9" * 400,
                b"\xff",
                b"//",
            ),
        ),
        run_body,
    ),
    "brush RLE": Target(changed_bytes([bytes(mask_to_brush_rle(_mask()))]), run_brush, (ValueError,)),
    "COCO RLE": Target(
        changed_json(
            [mask_to_coco_rle(_mask()), {"size": [2, 3], "counts": [1, 2, 3]}, {"size": [2, 3], "counts": "06"}]
        ),
        run_coco,
        (ValueError,),
    ),
    "addresses": Target(changed_bytes(ADDRESSES, ADDRESS_PIECES), run_address, ()),
    "pictures": Target(changed_bytes(_pictures()), run_picture),
}
