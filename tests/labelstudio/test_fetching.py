"""Downloads from real servers. 127.0.0.1 to .4 are four hosts; names lead to them by an injected resolver."""

from __future__ import annotations

import gzip
import logging
import socket
import ssl
import subprocess
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from web_server import WebServer, web_server

from xsam_backend.errors import ImageError, LabelStudioError
from xsam_backend.labelstudio.egress import FetchPolicy
from xsam_backend.labelstudio.fetching import Downloader

BODY = b"the picture's bytes " * 100


class FixedToken:
    """Credentials whose second value, if any, comes after a 401."""

    def __init__(self, *values: str) -> None:
        self.values = list(values)

    def authorization(self) -> str:
        return self.values[0]

    def renew_authorization(self, refused: str) -> str | None:
        assert refused == self.values.pop(0)
        return self.values[0] if self.values else None


class NoToken(FixedToken):
    def authorization(self) -> str:
        raise LabelStudioError("the personal access token is expired")


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
        label_studio_url=label_studio.url,
        allowed_private_hosts=("127.0.0.2",),
        max_bytes=100_000,
        connect_timeout_s=5,
        read_timeout_s=5,
        total_timeout_s=10,
        max_redirects=3,
    )


class TestBody:
    def test_bytes_as_they_are(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        assert Downloader(policy).download(elsewhere.put("/a.png", BODY)) == BODY

    def test_chunked(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        packed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY, BODY)) + b"0\r\n\r\n"
        url = elsewhere.put("/a.png", packed, Transfer_Encoding="chunked", Content_Length="")
        elsewhere.routes["/a.png"] = as_http_1_1(elsewhere.routes["/a.png"])
        assert Downloader(policy).download(url) == BODY * 2

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-gzip"])
    def test_packed_without_being_asked(self, policy: FetchPolicy, elsewhere: WebServer, encoding: str) -> None:
        packed = zlib.compress(BODY) if encoding == "deflate" else gzip.compress(BODY)
        url = elsewhere.put("/a.png", packed, Content_Encoding=encoding)
        assert Downloader(policy).download(url) == BODY
        assert elsewhere.asked[0].headers["accept-encoding"] == "identity"

    def test_the_bound_itself_is_allowed(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        assert len(Downloader(policy).download(elsewhere.put("/a", b"x" * 100_000))) == 100_000

    @pytest.mark.parametrize(
        ("body", "headers", "words", "reason"),
        [
            (b"x" * 100_001, {}, "more than the 100,000 bytes allowed", "announced too many"),
            (b"x" * 300_000, {"Content_Length": ""}, "more than the 100,000 bytes allowed", "announced nothing"),
            (b"x", {"Content_Length": "99999999999"}, "more than the 100,000 bytes allowed", "refused unseen"),
            (gzip.compress(b"\0" * 50_000_000), {"Content_Encoding": "gzip"}, "more than the 100,000", "a gzip bomb"),
            (BODY, {"Content_Encoding": "br"}, "packed with 'br'", "not asked for, not understood"),
            (BODY, {"Content_Encoding": "gzip"}, "failed \\(error", "says gzip, is none"),
            (BODY, {"Content_Length": "50000"}, "broke off after 2,000 of 50,000 bytes", "cut on its way"),
        ],
    )
    def test_refused(
        self,
        policy: FetchPolicy,
        elsewhere: WebServer,
        body: bytes,
        headers: dict[str, str],
        words: str,
        reason: str,
    ) -> None:
        with pytest.raises(ImageError, match=words):
            Downloader(policy).download(elsewhere.put("/a.png", body, **headers))

    def test_endless_headers(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        def answer(handler: Any) -> None:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(500)))

        elsewhere.routes["/a"] = answer
        with pytest.raises(ImageError, match="failed \\(HTTPException"):
            Downloader(policy).download(elsewhere.url + "/a")

    def test_not_http(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        elsewhere.routes["/a"] = lambda handler: handler.wfile.write(b"220 mail.example ESMTP\r\n")
        with pytest.raises(ImageError, match="failed \\(BadStatusLine"):
            Downloader(policy).download(elsewhere.url + "/a")


def as_http_1_1(answer: Any) -> Any:
    def route(handler: Any) -> Any:
        handler.protocol_version = "HTTP/1.1"
        return answer

    return route


class TestTime:
    def drip(self, server: WebServer, start: bytes) -> Any:
        def answer(handler: Any) -> None:
            handler.wfile.write(start)
            while not server.closing.wait(0.02):
                handler.wfile.write(b"x")
                handler.wfile.flush()

        return answer

    @pytest.mark.parametrize(
        ("start", "reason"),
        [
            (b"HTTP/1.0 200 OK\r\n\r\n", "one byte of the body at a time"),
            (b"HTTP/1.0 200 OK\r\nX-Long: ", "one byte of the headers at a time"),
            (b"HTTP", "one byte of the first line at a time"),
        ],
    )
    def test_dripping_server(self, policy: FetchPolicy, elsewhere: WebServer, start: bytes, reason: str) -> None:
        elsewhere.routes["/a"] = self.drip(elsewhere, start)
        with pytest.raises(ImageError, match=r"not there after 0\.3 s in total .* image_timeout_s"):
            Downloader(replace(policy, total_timeout_s=0.3)).download(elsewhere.url + "/a")

    def test_silent_server(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        elsewhere.routes["/a"] = lambda handler: elsewhere.closing.wait(60) and None
        with pytest.raises(ImageError, match=r"doesn't answer .* 0\.1 s for data"):
            Downloader(replace(policy, read_timeout_s=0.1)).download(elsewhere.url + "/a")

    def test_slow_redirects_share_the_total(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        def answer(handler: Any) -> Any:
            elsewhere.closing.wait(0.2)
            return 302, {"Location": "/a"}, b""

        elsewhere.routes["/a"] = answer
        with pytest.raises(ImageError, match=r"in total"):
            Downloader(replace(policy, total_timeout_s=0.3)).download(elsewhere.url + "/a")

    def test_name_that_takes_forever(self, policy: FetchPolicy) -> None:
        done = threading.Event()

        def resolver(host: str, port: int) -> list[str]:
            done.wait(60)
            return []

        downloader = Downloader(replace(policy, connect_timeout_s=0.1), resolver=resolver)
        with pytest.raises(ImageError, match="doesn't answer"):
            downloader.download("http://slow.example/a")
        done.set()

    def test_names_that_take_forever_keep_nobody_elses_waiting(
        self, policy: FetchPolicy, label_studio: WebServer, elsewhere: WebServer
    ) -> None:
        """One domain's names have a share of the threads."""
        done = threading.Event()

        def resolver(host: str, port: int) -> list[str]:
            if "tarpit" in host:
                done.wait(60)
            return ["127.0.0.1" if host == "labels.example.org" else "127.0.0.2"]

        url = f"http://labels.example.org:{label_studio.port}"
        quick = replace(policy, label_studio_url=url, connect_timeout_s=0.5)
        downloader = Downloader(quick, resolver=resolver)
        label_studio.put("/data/upload/a.png", BODY)
        elsewhere.put("/a.png", BODY)
        told: list[str] = []

        def ask(number: int) -> None:
            with pytest.raises(ImageError) as caught:
                downloader.download(f"http://a{number}.tarpit.example/a.png")
            told.append(str(caught.value))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(60)]
        for thread in threads:
            thread.start()
        try:
            assert downloader.download(f"{url}/data/upload/a.png") == BODY
            assert downloader.download(f"http://pictures.example.net:{elsewhere.port}/a.png") == BODY
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert len(told) == 60

    def test_what_the_operator_has_named_resolves_though_all_else_hangs(
        self, policy: FetchPolicy, label_studio: WebServer, elsewhere: WebServer
    ) -> None:
        """Names of as many domains as there are threads."""
        done = threading.Event()

        def resolver(host: str, port: int) -> list[str]:
            if "tarpit" in host:
                done.wait(60)
            return ["127.0.0.1" if host == "labels.example" else "127.0.0.2"]

        url = f"http://labels.example:{label_studio.port}"
        hosts = (*policy.allowed_private_hosts, "pictures.example")
        quick = replace(policy, label_studio_url=url, allowed_private_hosts=hosts, connect_timeout_s=0.2)
        downloader = Downloader(quick, resolver=resolver)
        for number in range(8):
            with pytest.raises(ImageError, match="doesn't answer"):
                downloader.download(f"http://tarpit.number{number}/a.png")
        try:
            label_studio.put("/data/upload/a.png", BODY)
            assert downloader.download(f"{url}/data/upload/a.png") == BODY
            elsewhere.put("/a.png", BODY)
            assert downloader.download(f"http://pictures.example:{elsewhere.port}/a.png") == BODY
        finally:
            done.set()


class TestAddresses:
    @pytest.mark.parametrize(
        "host", ["127.0.0.3", "2130706435", "0x7f.3", "0177.0.0.3", "127.3", "[::ffff:127.0.0.3]", "localhost"]
    )
    def test_private_however_it_is_written(self, policy: FetchPolicy, host: str) -> None:
        with web_server("127.0.0.3") as inside:
            inside.put("/a", BODY)
            with pytest.raises(ImageError, match="private or reserved address") as caught:
                Downloader(policy).download(f"http://{host}:{inside.port}/a")
            assert inside.asked == []
        assert "allow_private_hosts" in str(caught.value)

    def test_resolved_once_and_connected_to_that(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        """Rebinding: the first answer is permitted, the next one would lead inside."""
        elsewhere.put("/a", BODY)
        answers = [["127.0.0.2"], ["127.0.0.3"], ["127.0.0.3"]]
        with web_server("127.0.0.3") as inside:
            downloader = Downloader(policy, resolver=lambda host, port: answers.pop(0))
            assert downloader.download(f"http://pictures.example:{elsewhere.port}/a") == BODY
            assert inside.asked == []
        assert len(answers) == 2
        assert elsewhere.asked[0].headers["host"] == f"pictures.example:{elsewhere.port}"

    def test_private_among_the_answers_is_left_out(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        elsewhere.put("/a", BODY)
        downloader = Downloader(policy, resolver=lambda host, port: ["127.0.0.3", "127.0.0.2"])
        assert downloader.download(f"http://pictures.example:{elsewhere.port}/a") == BODY

    def test_next_address_if_one_is_down(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        elsewhere.put("/a", BODY)
        both = replace(policy, allowed_private_hosts=("127.0.0.0/8",))
        downloader = Downloader(both, resolver=lambda host, port: ["127.0.0.4", "127.0.0.2"])
        assert downloader.download(f"http://pictures.example:{elsewhere.port}/a") == BODY

    def test_nobody_listens(self, policy: FetchPolicy) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.2", 0))
            port = taken.getsockname()[1]
            with pytest.raises(ImageError, match=f"connection to 127.0.0.2:{port} failed .*refused.* server is up"):
                Downloader(policy).download(f"http://127.0.0.2:{port}/a")

    def test_unknown_name(self, policy: FetchPolicy) -> None:
        def resolver(host: str, port: int) -> list[str]:
            raise socket.gaierror(-2, "Name or service not known")

        with pytest.raises(ImageError, match=r"no host named 'nowhere\.example' is known"):
            Downloader(policy, resolver=resolver).download("http://nowhere.example/a")

    def test_credentials_in_the_address(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        with pytest.raises(ImageError, match="user name or password in it") as caught:
            Downloader(policy).download(elsewhere.url.replace("//", "//me:hush@") + "/a")
        assert "hush" not in str(caught.value)
        assert elsewhere.asked == []


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_followed(self, policy: FetchPolicy, elsewhere: WebServer, status: int) -> None:
        elsewhere.put("/b c%20d", b"")
        elsewhere.put("/b%20c%20d", BODY)
        url = elsewhere.put("/x/a", b"", status, Location="../b c%20d")
        assert Downloader(policy).download(url) == BODY

    def test_to_a_private_address(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        with web_server("127.0.0.3") as inside:
            url = elsewhere.put("/a", b"", 302, Location=inside.put("/meta?sig=hush", BODY))
            with pytest.raises(
                ImageError, match=r"redirected to http://127\.0\.0\.3:\d+/meta\?…: .*private"
            ) as caught:
                Downloader(policy).download(url)
            assert inside.asked == []
        assert "hush" not in str(caught.value)

    @pytest.mark.parametrize(
        ("location", "words"),
        [
            ("file:///etc/passwd", "redirected to file:///etc/passwd: expected an http or https address"),
            ("ftp://127.0.0.2/a", "got scheme 'ftp'"),
            ("gopher://127.0.0.2:6379/_SET%20a%20b", "got scheme 'gopher'"),
            ("data:image/png;base64,aGk=", "expected an http or https address"),
            ("http://me:hush@127.0.0.2/a", r"redirected to http://…@127\.0\.0\.2/a: .*user name or password"),
            ("http://[::1", "failed|cannot be read"),
        ],
    )
    def test_to_what_is_no_web_address(
        self, policy: FetchPolicy, elsewhere: WebServer, location: str, words: str
    ) -> None:
        with pytest.raises(ImageError, match=words):
            Downloader(policy).download(elsewhere.put("/a", b"", 302, Location=location))

    def test_in_a_circle(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        elsewhere.put("/a", b"", 302, Location="/b")
        elsewhere.put("/b", b"", 302, Location="/a")
        with pytest.raises(
            ImageError, match=r"more than 3 redirects, the last to .*: put the picture's final address"
        ):
            Downloader(policy).download(elsewhere.url + "/a")
        assert len(elsewhere.asked) == 4

    def test_most_of_them(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        for step in range(3):
            elsewhere.put(f"/{step}", b"", 302, Location=f"/{step + 1}")
        elsewhere.put("/3", BODY)
        assert Downloader(policy).download(elsewhere.url + "/0") == BODY

    def test_without_a_place_to_go(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        with pytest.raises(ImageError, match="answered HTTP 302 instead of a picture"):
            Downloader(policy).download(elsewhere.put("/a", b"", 302))


class TestToken:
    def test_to_label_studio(self, policy: FetchPolicy, label_studio: WebServer) -> None:
        url = label_studio.put("/data/upload/8/im_%C3%A9_1.png", BODY)
        assert Downloader(policy, FixedToken("Token abc")).download(url) == BODY
        assert [asked.token for asked in label_studio.asked] == ["Token abc"]
        assert label_studio.asked[0].target == "/data/upload/8/im_%C3%A9_1.png"

    def test_anything_is_accepted(self, policy: FetchPolicy, label_studio: WebServer) -> None:
        """Label Studio 1.23 answers HTTP 406 to a request for image/*."""
        Downloader(policy).download(label_studio.put("/data/upload/8/a.png", BODY))
        assert label_studio.asked[0].headers["accept"] == "*/*"

    def test_never_to_another_host(self, policy: FetchPolicy, elsewhere: WebServer) -> None:
        url = elsewhere.put("/data/upload/8/a.png", BODY)
        assert Downloader(policy, FixedToken("Token abc")).download(url) == BODY
        assert [asked.token for asked in elsewhere.asked] == [None]

    def test_never_to_another_port_of_the_host(self, policy: FetchPolicy) -> None:
        with web_server("127.0.0.1") as other:
            url = other.put("/data/upload/8/a.png", BODY)
            allowed = replace(policy, allowed_private_hosts=("127.0.0.1",))
            assert Downloader(allowed, FixedToken("Token abc")).download(url) == BODY
            assert [asked.token for asked in other.asked] == [None]

    def test_never_after_a_redirect(self, policy: FetchPolicy, label_studio: WebServer, elsewhere: WebServer) -> None:
        """The way of a pre-signed cloud file: Label Studio's 303, followed without the header."""
        signed = elsewhere.put("/bucket/a.png", BODY) + "?X-Amz-Signature=x%2Fy"
        url = label_studio.put("/tasks/7/resolve/", b"", 303, Location=signed)
        assert Downloader(policy, FixedToken("Token abc")).download(url) == BODY
        assert label_studio.asked[0].token == "Token abc"
        assert elsewhere.asked[0].token is None
        assert elsewhere.asked[0].target == "/bucket/a.png?X-Amz-Signature=x%2Fy"

    def test_not_even_back_home(self, policy: FetchPolicy, label_studio: WebServer, elsewhere: WebServer) -> None:
        target = label_studio.put("/data/upload/8/a.png", BODY)
        away = elsewhere.put("/away", b"", 302, Location=target)
        start = label_studio.put("/data/upload/8/start.png", b"", 302, Location=away)
        assert Downloader(policy, FixedToken("Token abc")).download(start) == BODY
        assert [asked.token for asked in label_studio.asked] == ["Token abc", None]

    def test_kept_within_label_studio(self, policy: FetchPolicy, label_studio: WebServer) -> None:
        label_studio.put("/data/upload/8/b.png", BODY)
        url = label_studio.put("/data/upload/8/a.png", b"", 302, Location="/data/upload/8/b.png")
        Downloader(policy, FixedToken("Token abc")).download(url)
        assert [asked.token for asked in label_studio.asked] == ["Token abc"] * 2

    def test_not_for_the_api(self, policy: FetchPolicy, label_studio: WebServer) -> None:
        label_studio.put("/api/tasks/7/", b"", 401)
        with pytest.raises(ImageError, match="file paths only"):
            Downloader(policy, FixedToken("Token abc")).download(label_studio.url + "/api/tasks/7/")
        assert [asked.token for asked in label_studio.asked] == [None]

    def test_renewed_once_after_a_401(self, policy: FetchPolicy, label_studio: WebServer) -> None:
        def answer(handler: Any) -> Any:
            return (200, {}, BODY) if handler.headers["Authorization"] == "Bearer new" else (401, {}, b"")

        label_studio.routes["/data/upload/8/a.png"] = answer
        url = label_studio.url + "/data/upload/8/a.png"
        assert Downloader(policy, FixedToken("Bearer old", "Bearer new")).download(url) == BODY
        with pytest.raises(ImageError, match="refuses the token"):
            Downloader(policy, FixedToken("Bearer old", "Bearer bad", "Bearer new")).download(url)

    def test_trouble_with_the_token_itself(self, policy: FetchPolicy, label_studio: WebServer) -> None:
        with pytest.raises(ImageError, match="the personal access token is expired"):
            Downloader(policy, NoToken()).download(label_studio.put("/data/upload/8/a.png", BODY))
        assert label_studio.asked == []

    def test_not_in_messages_or_logs(
        self, policy: FetchPolicy, label_studio: WebServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            downloader = Downloader(policy, FixedToken("Token abc123"))
            downloader.download(label_studio.put("/data/upload/8/a.png", BODY) + "?sig=hush")
            label_studio.put("/data/upload/8/b.png", b"body words", 401)
            with pytest.raises(ImageError) as caught:
                downloader.download(label_studio.url + "/data/upload/8/b.png?sig=hush")
        for secret in ("abc123", "hush", "body words"):
            assert secret not in caplog.text + str(caught.value) + repr(caught.value.__cause__)
        assert "fetched http://127.0.0.1" in caplog.text


class TestStatus:
    @pytest.mark.parametrize(
        ("status", "token", "words"),
        [
            (401, None, "wants a token for this file .HTTP 401.: set the Label Studio token"),
            (
                401,
                "Token abc",
                "refuses the token .* legacy tokens; set label_studio_token to a personal access token",
            ),
            (403, "Token abc", "forbids this file .* give the token's user access .* LOCAL_FILES_SERVING_ENABLED"),
            (404, "Token abc", "has no such file .* upload it again or connect the storage"),
            (424, "Token abc", "cannot read the file from its storage .* check the storage's credentials"),
            (
                500,
                "Token abc",
                "failed on this file .HTTP 500., as it does for uploads that are gone: upload it again",
            ),
            (503, "Token abc", "answered HTTP 503 instead of a picture: try again"),
            (206, "Token abc", "answered HTTP 206 instead of a picture"),
        ],
    )
    def test_of_label_studio(
        self, policy: FetchPolicy, label_studio: WebServer, status: int, token: str | None, words: str
    ) -> None:
        downloader = Downloader(policy, FixedToken(token) if token else None)
        with pytest.raises(ImageError, match=words):
            downloader.download(label_studio.put("/data/upload/8/a.png", b"", status))

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            (
                401,
                "refuses the picture .HTTP 401.: the Label Studio token is not sent there; make the picture public",
            ),
            (403, "refuses the picture .HTTP 403.*renew its signed URL"),
            (404, "has no such picture .HTTP 404.: correct the task's data"),
            (410, "has no such picture .HTTP 410."),
            (503, "answered HTTP 503 instead of a picture: try again"),
        ],
    )
    def test_of_others(self, policy: FetchPolicy, elsewhere: WebServer, status: int, words: str) -> None:
        with pytest.raises(ImageError, match=words):
            Downloader(policy, FixedToken("Token abc")).download(elsewhere.put("/a.png", b"", status))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for the name pictures.example, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", "key.pem", "-out", "crt.pem", "-days", "2", "-subj", "/CN=pictures.example"]
    command += ["-addext", "subjectAltName=DNS:pictures.example"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("the openssl command, which makes the test's certificate, isn't installed")
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "crt.pem").read_bytes())
    return both


class TestTLS:
    @pytest.fixture
    def secure(self, certificate: Path) -> Iterator[WebServer]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with web_server("127.0.0.2", wrap=lambda sock: context.wrap_socket(sock, server_side=True)) as server:
            server.put("/a", BODY)
            yield server

    def test_certificate_is_checked_against_the_name(
        self, policy: FetchPolicy, secure: WebServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        downloader = Downloader(policy, resolver=lambda host, port: ["127.0.0.2"])
        assert downloader.download(f"https://pictures.example:{secure.port}/a") == BODY
        with pytest.raises(
            ImageError, match=r"certificate of other\.example:\d+ is not trusted .*[Hh]ostname mismatch"
        ):
            downloader.download(f"https://other.example:{secure.port}/a")

    def test_unknown_authority(self, policy: FetchPolicy, secure: WebServer) -> None:
        downloader = Downloader(policy, resolver=lambda host, port: ["127.0.0.2"])
        with pytest.raises(ImageError, match=r"is not trusted .*self.signed.*: point SSL_CERT_FILE at"):
            downloader.download(f"https://pictures.example:{secure.port}/a")

    def test_total_time_holds_inside_tls(
        self, policy: FetchPolicy, secure: WebServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        secure.routes["/drip"] = TestTime().drip(secure, b"HTTP/1.0 200 OK\r\n\r\n")
        quick = replace(policy, total_timeout_s=0.5)
        downloader = Downloader(quick, resolver=lambda host, port: ["127.0.0.2"])
        with pytest.raises(ImageError, match=r"not there after 0\.5 s in total"):
            downloader.download(f"https://pictures.example:{secure.port}/drip")
