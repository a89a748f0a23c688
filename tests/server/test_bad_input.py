"""What can be wrong with a request, each with the words that the caller or the operator reads."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from app_parts import CONFIG, MemoryImages, PictureServer, click, data_uri, png, request_of, services_of
from PIL import Image

LABEL_STUDIO_TOKEN = "0123456789abcdef0123456789abcdef01234567"


def huge_header() -> bytes:
    """A PNG of 60,000 x 60,000 pixels, as far as its header says."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))


def error_of(app: Any, image: str) -> str:
    """The message that a click on this picture is answered with."""
    answer = app.test_client().post("/predict", json=request_of(image, context=[click(50, 50)]))
    assert answer.status_code == 422, answer.text
    error: str = answer.get_json()["error"]
    return error


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (data_uri(b"hello, this is text"), "expected a picture"),
        (data_uri(b"<html><body>log in</body></html>"), "HTML page"),
        (data_uri(png(200, 200)[:60]), "truncated or damaged"),
        (data_uri(b""), "empty"),
        (data_uri(huge_header()), "at most 80,000,000 are allowed"),
        ("data:image/png;base64,###", "base64"),
        ("ftp://example.com/a.png", "expected http(s)"),
        ("file:///etc/passwd", "local_files_root"),
        ("/data/upload/1/a.png", "label_studio_url"),
        ("s3://bucket/a.png", "label_studio_url"),
        ("http://169.254.169.254/latest/meta-data", "private or reserved address"),
        ("http://127.0.0.1:1/a.png", "private or reserved address"),
        ("http://user:secret@example.com/a.png", "user name or password"),
    ],
    ids=[
        "text",
        "a login page",
        "truncated",
        "empty",
        "a header of 60,000 x 60,000",
        "broken base64",
        "another scheme",
        "a file without a root",
        "an upload without Label Studio",
        "a cloud URI without Label Studio",
        "the cloud's own metadata",
        "loopback",
        "credentials in the address",
    ],
)
def test_a_picture_that_cannot_be_had(make_app: Any, image: str, said: str) -> None:
    error = error_of(make_app(), image)
    assert said in error
    assert "secret" not in error


@pytest.mark.parametrize(
    ("status", "said"), [(404, "no such picture (HTTP 404)"), (401, "the Label Studio token is not sent there")]
)
def test_a_server_that_refuses(make_app: Any, picture_server: PictureServer, status: int, said: str) -> None:
    picture_server.answers["/a.png"] = (status, {}, b"")
    app = make_app(allow_private_hosts=("127.0.0.1",))
    assert said in error_of(app, f"{picture_server.url}/a.png")


def test_a_redirect_to_a_private_address_is_not_followed(make_app: Any, picture_server: PictureServer) -> None:
    inner = PictureServer()
    try:
        picture_server.answers["/a.png"] = (302, {"Location": inner.url.replace("127.0.0.1", "127.0.0.2")}, b"")
        app = make_app(allow_private_hosts=("127.0.0.1",))
        assert "private or reserved address" in error_of(app, f"{picture_server.url}/a.png")
        assert inner.asked == []
    finally:
        inner.close()


def test_a_path_out_of_the_root_is_refused(make_app: Any, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    (root / "a.png").write_bytes(png())
    (tmp_path / "outside.png").write_bytes(png())
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    app = make_app(local_files_root=root)
    body = request_of(str(root / "a.png"), context=[click(50, 50)])
    assert app.test_client().post("/predict", json=body).status_code == 200
    for path in (f"{root}/../outside.png", str(tmp_path / "outside.png"), str(root / "link.png"), f"{root}/%2e%2e/x"):
        assert error_of(app, path)
    for query in ("../outside.png", "%2e%2e/outside.png", str(tmp_path / "outside.png")):
        assert error_of(app, f"/data/local-files/?d={query}")


def test_the_token_goes_to_the_configured_address_only(make_app: Any, picture_server: PictureServer) -> None:
    """Uploads get it; other servers, redirects away and a forged ``hostname`` in a setup never do."""
    other = PictureServer()
    try:
        for path in ("/data/upload/1/a.png", "/elsewhere.png"):
            picture_server.answers[path] = other.answers[path] = (200, {}, png())
        picture_server.answers["/data/upload/1/moved.png"] = (302, {"Location": f"{other.url}/elsewhere.png"}, b"")
        app = make_app(
            label_studio_url=picture_server.url,
            label_studio_token=LABEL_STUDIO_TOKEN,
            allow_private_hosts=("127.0.0.1",),
            ahead_tasks=0,
        )
        client = app.test_client()
        for asking in (services_of(app).webhook_guard, services_of(app).collecting):
            asking.close()  # what they ask the API is another matter
        forged = {"project": "1.2", "schema": CONFIG, "hostname": other.url, "access_token": "forged"}
        assert client.post("/setup", json=forged).status_code == 200
        for image in ("/data/upload/1/a.png", "/data/upload/1/moved.png", f"{other.url}/data/upload/1/a.png"):
            answer = client.post("/predict", json=request_of(image, context=[click(50, 50)]))
            assert answer.status_code == 200, answer.text
        files = [headers for path, headers in picture_server.asked if not path.startswith("/api/")]
        tokens = [headers.get("authorization") for headers in files]
        assert tokens == [f"Token {LABEL_STUDIO_TOKEN}"] * 2
        assert len(other.asked) == 2
        assert [headers.get("authorization") for _, headers in other.asked] == [None, None]
    finally:
        other.close()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_clicks_refer_to_the_picture_as_shown(make_app: Any, tmp_path: Path, orientation: int) -> None:
    """EXIF turns are applied once: the size reported is the turned one, whatever the stored one."""
    picture = Image.new("RGB", (64, 48), "white")
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "a.jpg"
    picture.save(file, exif=exif)
    body = request_of(data_uri(file.read_bytes(), "image/jpeg"), context=[click(50, 50)])
    (entry,) = make_app().test_client().post("/predict", json=body).get_json()["results"]
    (region,) = entry["result"]
    turned = orientation >= 5
    assert (region["original_width"], region["original_height"]) == ((48, 64) if turned else (64, 48))


@pytest.mark.parametrize(
    ("raw", "status", "said"),
    [
        (b'{"tasks": [', 400, "expected JSON"),
        (b"\xff\xfe", 400, "expected UTF-8"),
        (b"[]", 400, "expected a JSON object"),
        (b'{"tasks": [{"data": {"x": NaN}}]}', 400, "NaN, infinite or too large"),
        (b'{"tasks": [{"data": {"x": 1e400}}]}', 400, "too large"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, 400, "nested deeper than 64"),
        (b"", 400, "tasks: expected a list, got nothing"),
    ],
    ids=["cut off", "not UTF-8", "a list", "NaN", "infinite", "deep", "empty"],
)
@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook"])
def test_a_body_that_is_no_decent_json(make_app: Any, path: str, raw: bytes, status: int, said: str) -> None:
    answer = make_app().test_client().post(path, data=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    error = answer.get_json()["error"]
    assert said in error or (raw == b"" and "expected" in error)


@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook"])
def test_a_body_that_is_too_large(make_app: Any, path: str) -> None:
    app = make_app(max_request_mb=1)
    answer = app.test_client().post(path, data=b'{"a": "' + b"x" * 2**20 + b'"}')
    assert answer.status_code == 413
    assert "expected at most 1 MB" in answer.get_json()["error"]
    assert services_of(app).inbox.count() == {}
    (problem,) = services_of(app).monitor.last_problems
    assert (problem.where, "or raise max_request_mb" in problem.message) == (f"POST {path}", True)


def test_a_body_without_a_length_is_counted_while_it_arrives(make_app: Any) -> None:
    stream = io.BytesIO(b'{"a": "' + b"x" * 3 * 2**20)
    answer = (
        make_app(max_request_mb=1)
        .test_client()
        .post(
            "/predict",
            input_stream=stream,
            headers={"Transfer-Encoding": "chunked"},
            environ_base={"wsgi.input_terminated": True},
        )
    )
    assert answer.status_code == 413


def test_one_of_each_in_one_batch(make_app: Any) -> None:
    """Good pictures among all kinds of bad ones keep their regions."""
    good = data_uri(png())
    images = (good, data_uri(b"text"), good, "file:///etc/passwd", data_uri(huge_header()), good)
    answer = make_app().test_client().post("/predict", json=request_of(*images))
    results = answer.get_json()["results"]
    assert ["result" in entry for entry in results] == [True, False, True, False, False, True]
    assert len({json.dumps(entry["score"]) for entry in results if "result" in entry}) == 1


def test_an_unknown_label_is_answered_with_what_to_change(make_app: Any) -> None:
    body = request_of("a", context=[click(50, 50, "unicorn")])
    answer = make_app(images=MemoryImages()).test_client().post("/predict", json=body)
    assert answer.status_code == 422
    assert "Add <Label value=\"unicorn\"/> to PolygonLabels 'poly'" in answer.get_json()["error"]


def test_a_config_without_an_image_is_answered_with_what_to_add(make_app: Any) -> None:
    config = '<View><Text name="t" value="$t"/></View>'
    answer = make_app(images=MemoryImages()).test_client().post("/predict", json=request_of("a", config=config))
    assert answer.status_code == 422
    assert "add an Image tag" in answer.get_json()["error"]
