"""What the service's tests are made of: requests, pictures from memory or from a small web server."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from flask import Flask
from PIL import Image

from xsam_backend.errors import ImageError
from xsam_backend.labelstudio.images import FetchedImage
from xsam_backend.server.services import Services

MakeApp = Callable[..., Flask]
"""``make_app(predictor, images, **settings)``, a fixture: an application, closed when the test ends."""

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <KeyPointLabels name="kp" toName="image" smart="true"><Label value="cat"/><Label value="dog"/></KeyPointLabels>
  <RectangleLabels name="rect" toName="image" smart="true"><Label value="cat"/><Label value="dog"/></RectangleLabels>
  <TextArea name="prompt" toName="image" smart="true"/>
  <PolygonLabels name="poly" toName="image" smart="false"><Label value="cat"/><Label value="dog"/></PolygonLabels>
</View>"""


def png(width: int = 32, height: int = 24, value: int = 90) -> bytes:
    """An encoded grey picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


class MemoryImages:
    """Stands in for ``ImageSource``: every address is a grey picture of ``sizes_wh[address]`` (or 320 x 240)."""

    def __init__(self, sizes_wh: dict[str, tuple[int, int]] | None = None) -> None:
        self._sizes_wh = sizes_wh or {}

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        if "missing" in url:
            raise ImageError(f"{url}: HTTP 404")
        if "crash" in url:
            raise ZeroDivisionError("a bug in a decoder")
        width, height = self._sizes_wh.get(url, (320, 240))
        digest = hashlib.sha256(url.encode())
        pixels = np.full((height, width, 3), digest.digest()[0], np.uint8)
        return FetchedImage(pixels, digest.hexdigest(), (height, width), "PNG")

    max_pixels = 10**8

    def read(self, url: str, task_id: int | None = None) -> bytes:
        if "missing" in url:
            raise ImageError(f"{url}: HTTP 404")
        width, height = self._sizes_wh.get(url, (320, 240))
        return png(width, height, hashlib.sha256(url.encode()).digest()[0])


def services_of(app: Flask) -> Services:
    services: Services = app.extensions["xsam_backend"]
    return services


class PictureServer:
    """A web server on loopback. ``answers[path]`` is (status, headers, body); ``asked`` are (path, headers)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                status, headers, content = owner.answers.get(self.path, (404, {}, b"no such file"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def click(x_pct: float, y_pct: float, label: str = "cat", *, positive: bool = True) -> dict[str, Any]:
    """A smart keypoint as the labeling page sends it."""
    return {
        "id": "k",
        "type": "keypointlabels",
        "from_name": "kp",
        "to_name": "image",
        "original_width": 320,
        "original_height": 240,
        "image_rotation": 0,
        "value": {"x": x_pct, "y": y_pct, "width": 0.3, "labels": [label], "keypointlabels": [label]},
        "is_positive": positive,
    }


def request_of(
    *images: str, context: list[dict[str, Any]] | None = None, config: str = CONFIG, project: str = "21.1795347497"
) -> dict[str, Any]:
    """A predict request about pictures; with ``context`` an interactive one."""
    return {
        "tasks": [{"id": 100 + number, "data": {"image": image}} for number, image in enumerate(images)],
        "project": project,
        "label_config": config,
        "params": {"login": None, "password": None, "context": None if context is None else {"result": context}},
    }
