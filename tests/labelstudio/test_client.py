from __future__ import annotations

import base64
import gzip
import json
import logging
import resource
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from web_server import WebServer, web_server

from xsam_backend.errors import LabelStudioError, SettingsError, XSamBackendError
from xsam_backend.labelstudio.client import LabelStudioClient, NotFoundError

LEGACY = "0123456789abcdef0123456789abcdef01234567"


def jwt(**claims: Any) -> str:
    """An unsigned token with these claims; the server's business is to believe it."""
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


PERSONAL = jwt(token_type="refresh", exp=8_000_000_000)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """The same with TLS and a certificate that is trusted."""
    both = tmp_path / "key-and-certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "-", "-out", "-"]
    try:
        both.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    except FileNotFoundError:
        pytest.skip("the openssl command, which makes the test's certificate, isn't installed")
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with web_server(wrap=lambda listening: context.wrap_socket(listening, server_side=True)) as running:
        yield running


def answer_json(server: WebServer, path: str, value: Any, status: int = 200) -> None:
    server.put(path, json.dumps(value).encode(), status, Content_Type="application/json")


class Tokens:
    """Label Studio's side of personal access tokens: hands out access tokens, each valid until the next."""

    def __init__(self, server: WebServer, lifetime_s: int = 300) -> None:
        self.given: list[str] = []
        self.lifetime_s = lifetime_s
        server.routes["/api/token/refresh"] = self.refresh

    def refresh(self, handler: Any) -> Any:
        access = jwt(token_type="access", n=len(self.given), iat=1_000_000, exp=1_000_000 + self.lifetime_s)
        self.given.append(access)
        return 200, {}, json.dumps({"access": access}).encode()

    def guarded(self, value: Any) -> Callable[[Any], Any]:
        """A route that only the newest access token opens."""

        def route(handler: Any) -> Any:
            if self.given and handler.headers["Authorization"] == f"Bearer {self.given[-1]}":
                return 200, {}, json.dumps(value).encode()
            return 401, {}, b'{"detail": "Authentication credentials were not provided."}'

        return route


class TestTokens:
    def test_legacy(self, server: WebServer) -> None:
        answer_json(server, "/api/current-user/whoami", {"id": 1})
        client = LabelStudioClient(server.url + "/", f" {LEGACY}\n")
        assert client.whoami() == {"id": 1}
        assert [(asked.target, asked.token) for asked in server.asked] == [
            ("/api/current-user/whoami", f"Token {LEGACY}")
        ]

    def test_personal_is_traded_once(self, server: WebServer) -> None:
        tokens = Tokens(server)
        server.routes["/api/current-user/whoami"] = tokens.guarded({"id": 1})
        client = LabelStudioClient(server.url, PERSONAL)
        for _ in range(3):
            assert client.whoami() == {"id": 1}
        assert len(tokens.given) == 1
        assert json.loads(server.asked[0].body) == {"refresh": PERSONAL}
        assert server.asked[0].token is None

    def test_renewed_before_it_ends(self, server: WebServer) -> None:
        """25 seconds of life are less than the half minute that an authorization has to last."""
        tokens = Tokens(server, lifetime_s=25)
        client = LabelStudioClient(server.url, PERSONAL)
        assert client.authorization() != client.authorization()
        assert len(tokens.given) == 2

    def test_renewed_after_a_401(self, server: WebServer) -> None:
        tokens = Tokens(server)
        server.routes["/api/current-user/whoami"] = tokens.guarded({"id": 1})
        client = LabelStudioClient(server.url, PERSONAL)
        client.whoami()
        tokens.given.append("revoked on the server")
        assert client.whoami() == {"id": 1}

    def test_one_renewal_for_many_threads(self, server: WebServer) -> None:
        tokens = Tokens(server)
        client = LabelStudioClient(server.url, PERSONAL)
        old = client.authorization()
        found: list[str | None] = []
        threads = [threading.Thread(target=lambda: found.append(client.renew_authorization(old))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(found) == {f"Bearer {tokens.given[1]}"}
        assert len(tokens.given) == 2

    def test_unreadable_lifetime_is_no_obstacle(self, server: WebServer) -> None:
        answer_json(server, "/api/token/refresh", {"access": "opaque"})
        assert LabelStudioClient(server.url, PERSONAL).authorization() == "Bearer opaque"

    def test_legacy_has_no_other(self, server: WebServer) -> None:
        assert LabelStudioClient(server.url, LEGACY).renew_authorization(f"Token {LEGACY}") is None

    @pytest.mark.parametrize(
        ("status", "answer", "words"),
        [
            (401, {"detail": "Token is blacklisted"}, "refuses the personal access token .* make a new one under"),
            (200, {"other": 1}, "expected an access token, got none"),
            (200, {"access": "a\nb"}, "expected an access token, got none"),
            (404, {}, "no such thing"),
        ],
    )
    def test_trade_refused(self, server: WebServer, status: int, answer: Any, words: str) -> None:
        answer_json(server, "/api/token/refresh", answer, status)
        with pytest.raises(LabelStudioError, match=words) as caught:
            LabelStudioClient(server.url, PERSONAL).whoami()
        assert PERSONAL not in str(caught.value)
        assert len(server.asked) == 1

    @pytest.mark.parametrize("token", ["", "  ", "two words", "tökén", "a\nb"])
    def test_what_is_no_token(self, token: str) -> None:
        with pytest.raises(
            SettingsError, match="label_studio_token: expected a token from Account & Settings"
        ) as caught:
            LabelStudioClient("http://labels.example", token)
        assert not token.strip() or token not in str(caught.value)

    @pytest.mark.parametrize("url", ["labels.example:8080", "ftp://labels.example", "http://me:hush@labels.example"])
    def test_what_is_no_address(self, url: str) -> None:
        with pytest.raises(SettingsError, match="label_studio_url: "):
            LabelStudioClient(url, LEGACY)


class TestCalls:
    @pytest.fixture
    def client(self, server: WebServer) -> LabelStudioClient:
        return LabelStudioClient(server.url, LEGACY)

    def test_version(self, server: WebServer, client: LabelStudioClient) -> None:
        answer_json(server, "/api/version/", {"release": "1.23.2", "label-studio-os-package": {}})
        assert client.version() == "1.23.2"

    def test_project(self, server: WebServer, client: LabelStudioClient) -> None:
        answer_json(server, "/api/projects/21/", {"id": 21, "label_config": "<View/>"})
        assert client.project(21)["label_config"] == "<View/>"

    def pages(self, server: WebServer, rows: list[dict[str, Any]], total: bool = True) -> None:
        def route(handler: Any) -> Any:
            query = parse_qs(urlsplit(handler.path).query)
            size, page = int(query["page_size"][0]), int(query["page"][0])
            part = rows[(page - 1) * size : page * size]
            if not part and page > 1:
                return 404, {}, b'{"detail": "Invalid page."}'
            return 200, {}, json.dumps({"tasks": part, **({"total": len(rows)} if total else {})}).encode()

        server.routes["/api/tasks"] = route

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
    @pytest.mark.parametrize("total", [True, False])
    def test_tasks_page_by_page(self, server: WebServer, client: LabelStudioClient, count: int, total: bool) -> None:
        rows = [{"id": number} for number in range(count)]
        self.pages(server, rows, total)
        assert list(client.tasks(21, page_size=2)) == rows
        assert parse_qs(urlsplit(server.asked[0].target).query) == {
            "project": ["21"],
            "fields": ["all"],
            "page": ["1"],
            "page_size": ["2"],
        }

    def test_tasks_of_no_project(self, client: LabelStudioClient) -> None:
        with pytest.raises(NotFoundError, match="check the id"):
            list(client.tasks(99))

    def test_what_is_still_there(self, server: WebServer, client: LabelStudioClient) -> None:
        answer_json(server, "/api/annotations/7/", {"id": 7})
        answer_json(server, "/api/tasks/8/", {"id": 8})
        assert (client.has_annotation(7), client.has_annotation(8)) == (True, False)
        assert (client.has_task(8), client.has_task(7)) == (True, False)

    def test_whoever_may_not_look_knows_nothing_of_what_is_gone(
        self, server: WebServer, client: LabelStudioClient
    ) -> None:
        answer_json(server, "/api/tasks/8/", {}, 403)
        with pytest.raises(LabelStudioError, match="may not do this"):
            client.has_task(8)

    def test_tasks_in_smaller_pages_than_asked_for(self, server: WebServer, client: LabelStudioClient) -> None:
        """A server that caps the page size below what was asked for still gives all its tasks."""

        def route(handler: Any) -> Any:
            page = int(parse_qs(urlsplit(handler.path).query)["page"][0])
            return 200, {}, json.dumps({"tasks": [{"id": page}] if page <= 3 else [], "total": 3}).encode()

        server.routes["/api/tasks"] = route
        assert [row["id"] for row in client.tasks(21, page_size=100)] == [1, 2, 3]

    def test_chosen_tasks(self, server: WebServer, client: LabelStudioClient) -> None:
        """Without the question to the backend that a list of tasks may bring."""
        self.pages(server, [{"id": number} for number in (3, 5, 9)], True)
        assert [row["id"] for row in client.chosen_tasks(21, {9, 3, 5})] == [3, 5, 9]
        query = parse_qs(urlsplit(server.asked[0].target).query)
        assert json.loads(query["query"][0]) == {"selectedItems": {"all": False, "included": [3, 5, 9]}}
        assert (query["review"], query["resolve_uri"], query["fields"]) == (["true"], ["false"], ["all"])

    def test_add_prediction(self, server: WebServer, client: LabelStudioClient) -> None:
        answer_json(server, "/api/predictions/", {"id": 1}, 201)
        prediction = {"result": [{"id": "r"}], "score": 0.5, "model_version": "v1"}
        assert client.add_prediction(7, prediction) == {"id": 1}
        assert json.loads(server.asked[0].body) == {"task": 7, **prediction}

    @pytest.mark.parametrize(
        ("arguments", "query"),
        [
            ({}, {"exportType": ["JSON"], "download_all_tasks": ["false"]}),
            ({"annotated_only": False}, {"exportType": ["JSON"], "download_all_tasks": ["true"]}),
            ({"task_ids": [3, 5]}, {"exportType": ["JSON"], "download_all_tasks": ["false"], "ids[]": ["3", "5"]}),
        ],
    )
    def test_export(
        self, server: WebServer, client: LabelStudioClient, arguments: dict[str, Any], query: dict[str, list[str]]
    ) -> None:
        answer_json(server, "/api/projects/21/export", [{"id": 3, "annotations": []}])
        assert client.export(21, **arguments) == [{"id": 3, "annotations": []}]
        assert parse_qs(urlsplit(server.asked[0].target).query) == query

    def test_webhook_rows(self, server: WebServer, client: LabelStudioClient) -> None:
        row = {"id": 19, "url": "http://127.0.0.1:9090/webhook", "headers": {}}
        answer_json(server, "/api/webhooks/", [row])
        answer_json(server, "/api/webhooks/19/", {**row, "headers": {"X-Secret": "s"}})
        assert client.webhooks(21) == [row]
        assert server.asked[0].target == "/api/webhooks/?project=21"
        assert client.set_webhook_headers(19, {"X-Secret": "s"})["headers"] == {"X-Secret": "s"}
        assert server.asked[1].method == "PATCH"
        assert json.loads(server.asked[1].body) == {"headers": {"X-Secret": "s"}}

    def test_ml_backends(self, server: WebServer, client: LabelStudioClient) -> None:
        answer_json(server, "/api/ml", [{"id": 23, "state": "CO"}])
        assert client.ml_backends(21) == [{"id": 23, "state": "CO"}]
        assert server.asked[0].target == "/api/ml?project=21"

    def test_no_cookie_is_kept(self, server: WebServer, client: LabelStudioClient) -> None:
        """With a session cookie Label Studio would ask for CSRF tokens."""
        server.put("/api/current-user/whoami", b'{"id": 1}', Set_Cookie="sessionid=x; Path=/")
        client.whoami()
        client.whoami()
        assert "cookie" not in server.asked[1].headers


class TestTrouble:
    @pytest.mark.parametrize(
        ("status", "body", "words"),
        [
            (401, b"{}", r"GET .*/whoami: Label Studio refuses the token .HTTP 401.*personal access token"),
            (403, b"{}", "may not do this .HTTP 403.: add the user to the project"),
            (404, b"{}", "no such thing, or the token's user may not see it .HTTP 404.: check the id"),
            (400, b'{"detail": "Title: too short"}', "answered HTTP 400: Title: too short"),
            (500, b"<html>", "answered HTTP 500: look into Label Studio's log"),
            (
                200,
                b"<html>a login page",
                "expected JSON, got something else: is http://.* the address of Label Studio",
            ),
            (200, b"[1]", "expected a user .a JSON object. of Label Studio, got list"),
        ],
    )
    def test_answers(self, server: WebServer, status: int, body: bytes, words: str) -> None:
        server.put("/api/current-user/whoami", body, status)
        with pytest.raises(LabelStudioError, match=words):
            LabelStudioClient(server.url, LEGACY).whoami()

    @pytest.mark.parametrize("body", [b"{}", b"[1, 2]", b"null"])
    def test_lists_that_are_none(self, server: WebServer, body: bytes) -> None:
        server.put("/api/webhooks/", body)
        with pytest.raises(LabelStudioError, match=r"expected webhooks \(a list of objects\) of Label Studio"):
            LabelStudioClient(server.url, LEGACY).webhooks(21)

    def test_redirect_is_not_followed(self, server: WebServer) -> None:
        with web_server("127.0.0.2") as other:
            server.put("/api/token/refresh", b"", 307, Location=other.put("/login?next=hush", b"{}"))
            with pytest.raises(LabelStudioError, match=r"redirected to http://127\.0\.0\.2:\d+/login\?…, where"):
                LabelStudioClient(server.url, PERSONAL).whoami()
            assert other.asked == []

    def test_nobody_there(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(
                LabelStudioError, match=f"cannot be reached at {url} .ConnectionError.: check label_st"
            ):
                LabelStudioClient(url, LEGACY).whoami()

    def test_silence(self, server: WebServer) -> None:
        server.routes["/api/current-user/whoami"] = lambda handler: server.closing.wait(60) and None
        with pytest.raises(LabelStudioError, match=r"did not answer GET /api/current-user/whoami within 0\.1 s"):
            LabelStudioClient(server.url, LEGACY, timeout_s=0.1).whoami()

    @pytest.mark.parametrize(
        ("start", "reason"),
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "one byte of the body at a time"),
            (b"HTTP/1.1 200 OK\r\nX-Long: ", "one byte of the headers at a time"),
            (b"HTTP", "one byte of the first line at a time"),
        ],
    )
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_dripping(self, request: pytest.FixtureRequest, scheme: str, start: bytes, reason: str) -> None:
        server: WebServer = request.getfixturevalue("server" if scheme == "http" else "secure")

        def drip(handler: Any) -> None:
            handler.wfile.write(start)
            while not server.closing.wait(0.02):
                handler.wfile.write(b"x")
                handler.wfile.flush()

        server.routes["/api/current-user/whoami"] = drip
        begun = time.monotonic()
        with pytest.raises(LabelStudioError, match=r"in full after 0\.6 s: .* label_studio_timeout_s"):
            LabelStudioClient(server.url, LEGACY, timeout_s=0.3).whoami()
        assert time.monotonic() - begun < 10, reason

    def test_silence_after_a_beginning(self, server: WebServer) -> None:
        def begin(handler: Any) -> None:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            handler.wfile.flush()
            server.closing.wait(60)

        server.routes["/api/current-user/whoami"] = begin
        with pytest.raises(LabelStudioError, match=r"within 0\.2 s"):
            LabelStudioClient(server.url, LEGACY, timeout_s=0.2).whoami()

    @pytest.mark.parametrize(
        ("body", "headers", "reason"),
        [
            (b'"' + b"x" * 10_000 + b'"', {}, "plain"),
            (gzip.compress(b"x" * 50_000_000), {"Content_Encoding": "gzip"}, "a gzip bomb"),
        ],
    )
    def test_an_answer_without_end(
        self, server: WebServer, body: bytes, headers: dict[str, str], reason: str
    ) -> None:
        server.put("/api/current-user/whoami", body, 200, **headers)
        with pytest.raises(LabelStudioError, match="with more than 10,000 bytes"):
            LabelStudioClient(server.url, LEGACY, max_bytes=10_000).whoami()

    def test_the_body_of_a_redirect_is_counted_too(self, server: WebServer) -> None:
        """It isn't followed, and not unpacked either."""
        bomb = gzip.compress(b"x" * 300_000_000)
        server.put("/api/current-user/whoami", bomb, 302, Content_Encoding="gzip", Location="/elsewhere")
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(LabelStudioError, match="with more than 10,000 bytes"):
            LabelStudioClient(server.url, LEGACY, max_bytes=10_000).whoami()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 150_000

    def test_the_same_page_again_and_again_is_no_project_without_end(self, server: WebServer) -> None:
        answer_json(server, "/api/tasks", {"tasks": [{"id": 1}], "total": 10**9})
        given: list[Any] = []
        with pytest.raises(LabelStudioError, match="expected further tasks on page 2"):
            given += LabelStudioClient(server.url, LEGACY).tasks(1)
        assert len(server.asked) == 2

    def test_a_connection_is_used_again(self, server: WebServer) -> None:
        """By another thread, whose time has begun anew."""
        used: list[int] = []

        def answer(handler: Any) -> None:
            used.append(handler.client_address[1])
            handler.close_connection = False
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
            handler.wfile.flush()
            server.closing.wait(0.3)
            handler.wfile.write(b'{"id": 1}')

        server.routes["/api/current-user/whoami"] = answer
        client = LabelStudioClient(server.url, LEGACY, timeout_s=0.5)
        found: list[Any] = []
        for _ in range(5):
            thread = threading.Thread(target=lambda: found.append(client.whoami()))
            thread.start()
            thread.join()
        assert found == [{"id": 1}] * 5
        assert len(set(used)) == 1

    def test_json_too_deep(self, server: WebServer) -> None:
        server.put("/api/current-user/whoami", b"[" * 200_000)
        with pytest.raises(LabelStudioError, match="expected JSON"):
            LabelStudioClient(server.url, LEGACY).whoami()

    def test_environment_is_not_read(self, server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy would see the token."""
        with web_server("127.0.0.2") as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            answer_json(server, "/api/current-user/whoami", {"id": 1})
            LabelStudioClient(server.url, LEGACY).whoami()
            assert proxy.asked == []

    def test_tokens_are_never_told(self, server: WebServer, caplog: pytest.LogCaptureFixture) -> None:
        answer_json(server, "/api/current-user/whoami", {"detail": f"bad header: Token {LEGACY}"}, 400)
        client = LabelStudioClient(server.url, LEGACY)
        with caplog.at_level(logging.DEBUG), pytest.raises(XSamBackendError) as caught:
            client.whoami()
        assert str(caught.value).endswith("HTTP 400: bad header: Token …")
        assert LEGACY not in caplog.text + repr(client)
