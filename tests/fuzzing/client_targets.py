"""More targets: what a hostile server answers the real client of Label Studio, byte by byte, and tokens' claims."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Any

from hypothesis import strategies as st
from mutations import HOSTILE, changed_bytes, changed_json
from raw_server import RawServer
from targets import Target

from xsam_backend.errors import LabelStudioError
from xsam_backend.labelstudio.client import LabelStudioClient, _lifetime_s

LEGACY = "0123456789abcdef0123456789abcdef01234567"
MOST_BYTES = 2**20


@lru_cache(1)
def _server() -> RawServer:
    return RawServer()


def _client(token: str) -> LabelStudioClient:
    return LabelStudioClient(_server().url, token, timeout_s=1.0, max_bytes=MOST_BYTES)


def _tasks(client: LabelStudioClient) -> list[Any]:
    return list(islice(client.tasks(1), 20))


CALLS: tuple[Callable[[LabelStudioClient], object], ...] = (
    LabelStudioClient.whoami,
    LabelStudioClient.version,
    _tasks,
    lambda client: client.project(1),
    lambda client: client.chosen_tasks(1, [1, 2]),
    lambda client: client.tasks_after(1, 1, 5),
    lambda client: client.export(1),
    lambda client: client.webhooks(1),
    lambda client: client.ml_backends(1),
    lambda client: client.has_project(1),
    lambda client: client.add_prediction(1, {"result": []}),
)


def run_reply(value: bytes) -> None:
    """The first byte says which call it is an answer to, and with which kind of token; the rest is the answer."""
    if not value:
        return
    number, _server().answer = value[0], value[1:]
    client = _client(LEGACY if number % 2 else "a.b.c")
    said = ""
    try:
        answer = CALLS[number // 2 % len(CALLS)](client)
        assert isinstance(answer, dict | list | str | bool)
    except LabelStudioError as error:
        said = str(error)
    finally:
        client._session.close()
    assert LEGACY not in said
    assert "\n" not in said, said
    assert len(said) < 3000


def run_claims(payload: bytes) -> None:
    token = f"a.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.c"
    lifetime_s = _lifetime_s(token)
    assert math.isfinite(lifetime_s)
    assert 0 <= lifetime_s <= 86_400


def _reply(body: Any, status: bytes = b"200 OK", *headers: bytes) -> bytes:
    content = json.dumps(body).encode()
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Content-Length: %d" % len(content), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


TASK = {"id": 1, "data": {"image": "a.png"}, "annotations": [], "predictions": []}
ACCESS = f"a.{base64.b64encode(json.dumps({'exp': 9, 'iat': 1}).encode()).decode()}.c"
REPLIES = [
    _reply({"id": 1, "title": "a", "label_config": "<View/>", "created_at": "2026-01-01T00:00:00Z"}),
    _reply({"release": "1.23.2"}),
    _reply({"tasks": [TASK], "total": 1}),
    _reply([TASK, TASK]),
    _reply([{"id": 1, "url": "http://a/webhook", "headers": {}, "actions": []}]),
    _reply({"access": ACCESS}),
    _reply({"detail": f"no such token {LEGACY}"}, b"403 Forbidden"),
    _reply({"detail": "Invalid token"}, b"401 Unauthorized"),
    _reply({}, b"404 Not Found"),
    _reply({}, b"302 Found", b"Location: https://elsewhere.example/api"),
    _reply({}, b"500 Internal Server Error"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xab\xae\x05\x00",
    b"HTTP/1.0 204 No Content\r\n\r\n",
]
REPLY_PIECES = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"Location: http://[\r\n",
    b"Location: \xff\xfe\r\n",
    b"Location: http://a:hush@b/\r\n",
    b"Location:\r\n /folded\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: deflate, gzip, br\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Set-Cookie: \xff=;;=\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/9.9 999 \xff\r\n",
    b"ffffffffffffffff\r\n",
    b"-1\r\n",
    b"[" * 5000,
    b'{"a":' * 5000,
    b"9" * 5000,
    b"NaN",
    b"null",
    b"\x1f\x8b",
    b"X: " + b"y" * 70_000 + b"\r\n",
    b"X: y\r\n" * 120,
)
CLAIMS = [{"exp": 1_800_000_300, "iat": 1_800_000_000, "jti": "a", "user_id": 1}, {"exp": 9}]
CLAIM_PIECES = (
    *(b"NaN", b"Infinity", b"-Infinity", b"9" * 5000, b"9" * 400, b"[" * 100_000, b'"nan"', b'"1e999"', b"null"),
)
BODIES = [{"tasks": [TASK], "total": 1}, [TASK], {"access": "a.b.c"}, *CLAIMS, *HOSTILE[:8]]


def _addressed(answers: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Answers to any of the calls."""
    return st.builds(lambda number, answer: bytes([number]) + answer, st.integers(0, 255), answers)


CLIENT_TARGETS = {
    "replies to the client": Target(_addressed(changed_bytes(REPLIES, REPLY_PIECES)), run_reply, ()),
    "bodies for the client": Target(_addressed(changed_json(BODIES).map(_reply)), run_reply, ()),
    "claims of tokens": Target(
        st.one_of(
            changed_json(CLAIMS).map(lambda claims: json.dumps(claims).encode()),
            changed_bytes([json.dumps(claims).encode() for claims in CLAIMS], CLAIM_PIECES),
        ),
        run_claims,
        (),
    ),
}
