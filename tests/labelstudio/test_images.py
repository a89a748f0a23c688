from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from web_server import WebServer, web_server

from xsam_backend.errors import ImageError, SettingsError
from xsam_backend.labelstudio.client import LabelStudioClient
from xsam_backend.labelstudio.images import FetchPolicy, ImageSource

TOKEN = "0123456789abcdef0123456789abcdef01234567"
RECORDED = Path(__file__).parents[1] / "recorded" / "label_studio" / "task_data_urls.json"


def png(grey: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), (grey, grey, grey)).save(buffer, "PNG")
    return buffer.getvalue()


def huge_png() -> bytes:
    """A small file whose header promises 60,000 x 60,000 pixels."""
    encoded = bytearray(png())
    encoded[16:24] = (60_000).to_bytes(4, "big") * 2
    encoded[29:33] = zlib.crc32(encoded[12:29]).to_bytes(4, "big")
    return bytes(encoded)


@pytest.fixture
def label_studio() -> Iterator[WebServer]:
    with web_server("127.0.0.1") as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[WebServer]:
    with web_server("127.0.0.2") as server:
        yield server


@pytest.fixture
def policy(label_studio: WebServer) -> FetchPolicy:
    return FetchPolicy(
        label_studio_url=label_studio.url, token=TOKEN, allowed_private_hosts=("127.0.0.2",), max_bytes=10_000
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An open folder with set/a b.png in it, beside a folder that isn't open."""
    folder = tmp_path / "open"
    (folder / "set").mkdir(parents=True)
    (folder / "set" / "a b.png").write_bytes(png(7))
    (tmp_path / "open-not").mkdir()
    (tmp_path / "open-not" / "hidden.png").write_bytes(png())
    return folder


def recorded(kind: str) -> str:
    """The image value of a recorded task, by the start of its kind."""
    forms = json.loads(RECORDED.read_text())["forms"]
    (form,) = [form for form in forms if form["kind"].startswith(kind)]
    return str(form["data"]["image"])


class TestRecordedForms:
    """Every form of address in the recording, fetched the way the recording says."""

    def test_upload(self, policy: FetchPolicy, label_studio: WebServer) -> None:
        url = recorded("file uploaded")
        label_studio.put(url, png(1))
        fetched = ImageSource(policy).fetch(url, 7)
        assert label_studio.asked[0].target == "/data/upload/8/3aab26e6-im_%C3%A9_1.png", "not quoted again"
        assert label_studio.asked[0].token == f"Token {TOKEN}"
        assert (fetched.size_hw, fetched.format) == ((4, 6), "PNG")
        assert fetched.sha256 == hashlib.sha256(png(1)).hexdigest()
        assert (fetched.pixels == 1).all()
        assert fetched.pixels.dtype == np.uint8

    @pytest.mark.parametrize("kind", ["local files storage", "local files, path typed"])
    def test_local_files_through_label_studio(self, policy: FetchPolicy, label_studio: WebServer, kind: str) -> None:
        url = recorded(kind).replace("http://127.0.0.1:8080", label_studio.url)
        label_studio.put("/data/local-files/", png())
        ImageSource(policy).fetch(url, 7)
        assert label_studio.asked[0].target == "/data/local-files/?d=set/a%20b.png"
        assert label_studio.asked[0].token == f"Token {TOKEN}"

    @pytest.mark.parametrize("kind", ["local files storage", "local files, path typed"])
    def test_local_files_from_the_disk(
        self, policy: FetchPolicy, label_studio: WebServer, root: Path, kind: str
    ) -> None:
        url = recorded(kind).replace("http://127.0.0.1:8080", label_studio.url)
        fetched = ImageSource(replace(policy, local_root=root)).fetch(url, 7)
        assert (fetched.pixels == 7).all()
        assert label_studio.asked == []

    def test_web(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        elsewhere.put("/pic.jpg", png())
        source = ImageSource(policy, resolver=lambda host, port: ["127.0.0.2"])
        source.fetch(recorded("http(s)").replace("https://example.com", f"http://example.com:{elsewhere.port}"), 7)
        assert elsewhere.asked[0].token is None

    def test_data_uri_cut_short(self, policy: FetchPolicy) -> None:
        with pytest.raises(
            ImageError, match=r"data:image/png;base64,… .*base64 .* cannot be decoded: it was cut off"
        ):
            ImageSource(policy).fetch(recorded("data URI"))

    @pytest.mark.parametrize("kind", ["S3 source storage", "s3:// URI without"])
    @pytest.mark.parametrize("scheme", ["s3", "gs", "azure-blob"])
    def test_cloud(self, policy: FetchPolicy, label_studio: WebServer, kind: str, scheme: str) -> None:
        uri = recorded(kind).replace("s3:", f"{scheme}:")
        label_studio.put("/tasks/7/resolve/", png())
        ImageSource(policy).fetch(uri, 7)
        path, _, query = label_studio.asked[0].target.partition("?fileuri=")
        assert path == "/tasks/7/resolve/"
        assert base64.urlsafe_b64decode(query).decode() == uri
        assert label_studio.asked[0].token == f"Token {TOKEN}"

    def test_cloud_without_a_matching_storage(self, policy: FetchPolicy, label_studio: WebServer) -> None:
        with pytest.raises(ImageError, match=r"s3://bucket/dir/a\.png: .*no storage of the task's project covers it"):
            ImageSource(policy).fetch(recorded("s3:// URI without"), 7)


class TestOtherForms:
    @pytest.mark.parametrize("url", ["upload/8/a.png", "/upload/8/a.png"])
    def test_uploads_as_exports_write_them(self, policy: FetchPolicy, label_studio: WebServer, url: str) -> None:
        label_studio.put("/data/upload/8/a.png", png())
        assert ImageSource(policy).fetch(url).size_hw == (4, 6)

    @pytest.mark.parametrize("url", ["/data/upload/8/a.png", "/labels/data/upload/8/a.png"])
    def test_label_studio_below_a_path(self, policy: FetchPolicy, label_studio: WebServer, url: str) -> None:
        label_studio.put("/labels/data/upload/8/a.png", png())
        below = replace(policy, label_studio_url=label_studio.url + "/labels/")
        ImageSource(below).fetch(url)
        assert label_studio.asked[0].token == f"Token {TOKEN}"

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("data:image/png;base64," + base64.b64encode(png()).decode(), "as browsers write it"),
            ("DATA:;BASE64," + base64.b64encode(png()).decode(), "case means nothing, the type may be missing"),
            ("data:image/png;charset=x;base64," + base64.b64encode(png()).decode().rstrip("="), "padding cut"),
            ("data:image/png;base64," + quote(base64.b64encode(png()).decode(), safe=""), "quoted"),
            ("data:image/png;base64," + base64.encodebytes(png()).decode(), "in lines"),
            ("data:image/png," + quote(png()), "not base64 at all"),
            ("data:text/plain;base64," + base64.b64encode(png()).decode(), "the type is not believed"),
        ],
    )
    def test_data_uris(self, policy: FetchPolicy, url: str, reason: str) -> None:
        assert ImageSource(policy).fetch(url).sha256 == hashlib.sha256(png()).hexdigest(), reason

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("data:image/png;base64,&&&&", "cannot be decoded: it was cut off or altered"),
            ("data:image/png;base64,abcde", "cannot be decoded"),
            ("data:image/png;base64,ü", "cannot be decoded"),
            ("data:image/png;base64", "got no comma: the address was cut off"),
            ("data:image/png;base64,", "an empty file"),
            ("data:text/html,<html>hush</html>", "an HTML page"),
            ("data:image/svg+xml,<svg/>", "an SVG drawing"),
            ("data:image/png;base64," + "A" * 20_000, "more than the 10,000 bytes allowed"),
            ("data:image/png," + "A" * 20_000, "more than the 10,000 bytes allowed"),
        ],
    )
    def test_bad_data_uris(self, policy: FetchPolicy, url: str, words: str) -> None:
        with pytest.raises(ImageError, match=words) as caught:
            ImageSource(policy).fetch(url)
        assert len(str(caught.value)) < 300, "the data itself is not repeated"
        assert "hush" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "words", "reason"),
        [
            ("", "expected the address of a picture in the task's data, got an empty text", "an empty field"),
            (None, "got NoneType: check that the label config's value names the right key", "no such key"),
            (["a.png"], "got list", "several pictures; the caller picks one"),
            ("a.png", "got no scheme: correct the task's data", "a bare name"),
            ("ftp://127.0.0.2/a.png", "got ftp: correct", "another scheme"),
            ("C:\\pictures\\a.png", "got c: correct", "a Windows path"),
            ("javascript:alert(1)", "got javascript", "a script"),
            ("//127.0.0.2/a.png", "no folder is open for reading", "without scheme: no host is meant"),
            ("http://me:hush@127.0.0.2/a.png", "user name or password", "a secret in the address"),
            ("s3://bucket/a.png", "give the task's id", "no task to resolve it through"),
        ],
    )
    def test_what_is_no_address(self, policy: FetchPolicy, url: Any, words: str, reason: str) -> None:
        with pytest.raises(ImageError, match=words) as caught:
            ImageSource(policy).fetch(url)
        assert "hush" not in str(caught.value), reason

    @pytest.mark.parametrize("url", ["/data/upload/8/a.png", "s3://bucket/a.png", "/data/local-files/?d=a.png"])
    def test_without_label_studio(self, url: str) -> None:
        with pytest.raises(
            ImageError, match=r"lies in Label Studio: set Label Studio's address \(label_studio_url\)"
        ):
            ImageSource(FetchPolicy()).fetch(url, 7)

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (png()[:-26], "truncated or damaged"),
            (b"<!doctype html><title>Log in</title>", "an HTML page, often a login page"),
            (huge_png(), "promises 3,600,000,000 pixels, at most 80,000,000 are allowed"),
        ],
    )
    def test_what_comes_is_no_picture(
        self, policy: FetchPolicy, elsewhere: WebServer, body: bytes, words: str
    ) -> None:
        url = elsewhere.put("/a.png", body, Content_Type="image/png") + "?sig=hush"
        with pytest.raises(ImageError, match=r"http://127\.0\.0\.2:\d+/a\.png\?…: .*" + words) as caught:
            ImageSource(policy).fetch(url)
        assert "hush" not in str(caught.value)


class TestLocalRoot:
    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("{root}/set/a b.png", "an absolute path"),
            ("file://{root}/set/a%20b.png", "a file address is quoted"),
            ("file://localhost{root}/set/a%20b.png", "with this machine's name"),
            ("/data/local-files/?d=set/a%20b.png", "Label Studio's way"),
            ("/data/local-files/?d=/set/a+b.png", "a leading slash means nothing there, a plus is a space"),
            ("/data/local-files?d=set%2Fa%20b.png", "without slash, quoted whole"),
            ("{root}/set/../set/a b.png", "a detour that stays inside"),
        ],
    )
    def test_below_it(self, root: Path, url: str, reason: str) -> None:
        fetched = ImageSource(FetchPolicy(local_root=root)).fetch(url.format(root=root))
        assert (fetched.pixels == 7).all(), reason

    @pytest.mark.parametrize(
        ("url", "words", "reason"),
        [
            ("{root}/../open-not/hidden.png", "leads out of the folder", "dots"),
            ("{root}-not/hidden.png", "leads out of the folder", "a sibling whose name begins alike"),
            ("/etc/passwd", "leads out of the folder", "elsewhere"),
            ("/etc/no-such-file", "leads out of the folder", "whether it exists isn't told"),
            ("file:///etc/passwd", "leads out of the folder", "elsewhere, as a file address"),
            ("file://{root}/%2e%2e/open-not/hidden.png", "leads out of the folder", "quoted dots"),
            ("/data/local-files/?d=../open-not/hidden.png", "leads out of the folder", "dots, Label Studio's way"),
            ("/data/local-files/?d=%2e%2e%2fopen-not/hidden.png", "leads out of the folder", "quoted"),
            ("/data/local-files/?d=link.png", "leads out of the folder", "a link to a file outside"),
            ("/data/local-files/?d=way/hidden.png", "leads out of the folder", "through a linked folder"),
            ("/data/local-files/?d=%252e%252e/open-not/hidden.png", "no such file", "quoted twice: a plain name"),
            ("/data/local-files/?d=etc/passwd", "no such file", "below the root, where it isn't"),
            ("/data/local-files/?d=set", "no such file below local_files_root", "a folder"),
            ("/data/local-files/?d=pipe", "no such file", "a pipe would block for ever"),
            ("/data/local-files/?d=a%00.png", "cannot be followed|no such file", "a NUL"),
            (
                "/data/local-files/?d=" + "x" * 5000,
                "cannot be followed|no such file|cannot be read",
                "a name too long",
            ),
            ("/data/local-files/?d=", "got no path", "nothing named"),
            ("/data/local-files/?x=set", "got no path", "nothing named"),
            ("/data/local-files/?d=round", "cannot be followed|no such file", "a link to itself"),
            ("/data/local-files/?d=big.png", "more than the 10,000 bytes allowed", "too large"),
            ("file://server/share/a.png", "got a file address with a host", "another machine"),
            ("file://\uff1fc/a.png", "an address that can't be read", "a host that stands for more than it shows"),
        ],
    )
    def test_refused(self, root: Path, url: str, words: str, reason: str) -> None:
        (root / "link.png").symlink_to(root.parent / "open-not" / "hidden.png")
        (root / "way").symlink_to(root.parent / "open-not")
        (root / "round").symlink_to(root / "round")
        os.mkfifo(root / "pipe")
        (root / "big.png").write_bytes(b"x" * 10_001)
        with pytest.raises(ImageError, match=words):
            ImageSource(FetchPolicy(local_root=root, max_bytes=10_000)).fetch(url.format(root=root))

    def test_link_that_stays_inside(self, root: Path) -> None:
        (root / "link.png").symlink_to(root / "set" / "a b.png")
        assert ImageSource(FetchPolicy(local_root=root)).fetch(f"{root}/link.png").size_hw == (4, 6)

    def test_root_that_is_a_link_itself(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "alias").symlink_to(root)
        source = ImageSource(FetchPolicy(local_root=tmp_path / "alias"))
        assert source.fetch(f"{tmp_path}/alias/set/a b.png").size_hw == (4, 6)

    @pytest.mark.parametrize("url", ["{root}/set/a b.png", "file://{root}/set/a%20b.png"])
    def test_closed_by_default(self, policy: FetchPolicy, root: Path, url: str) -> None:
        with pytest.raises(ImageError, match="no folder is open for reading: set local_files_root, or import"):
            ImageSource(policy).fetch(url.format(root=root))

    def test_only_label_studios_own_addresses_mean_the_disk(
        self, policy: FetchPolicy, elsewhere: WebServer, root: Path
    ) -> None:
        elsewhere.put("/data/local-files/", png(3))
        source = ImageSource(replace(policy, local_root=root))
        fetched = source.fetch(elsewhere.url + "/data/local-files/?d=set/a%20b.png")
        assert (fetched.pixels == 3).all()


class TestOneLabelStudio:
    def test_given_client_is_asked_for_the_token(self, label_studio: WebServer) -> None:
        label_studio.put("/data/upload/8/a.png", png())
        client = LabelStudioClient(label_studio.url, "given")
        ImageSource(FetchPolicy(label_studio_url=label_studio.url), client).fetch("/data/upload/8/a.png")
        assert label_studio.asked[0].token == "Token given"

    def test_no_token_at_all(self, label_studio: WebServer) -> None:
        label_studio.put("/data/upload/8/a.png", b"", 401)
        with pytest.raises(
            ImageError, match=r"/data/upload/8/a\.png: Label Studio wants a token .* set the Label Stud"
        ):
            ImageSource(FetchPolicy(label_studio_url=label_studio.url)).fetch("/data/upload/8/a.png")
        assert label_studio.asked[0].token is None

    @pytest.mark.parametrize("url", [None, "http://other.example"])
    def test_two_of_them_are_refused(self, label_studio: WebServer, url: str | None) -> None:
        with pytest.raises(SettingsError, match="expected one Label Studio, got"):
            ImageSource(FetchPolicy(label_studio_url=url), LabelStudioClient(label_studio.url, TOKEN))

    def test_token_is_not_shown(self, policy: FetchPolicy) -> None:
        assert TOKEN not in repr(ImageSource(policy)) + repr(vars(ImageSource(policy)))
