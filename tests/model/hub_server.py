"""A real HTTP server that speaks as much of the hub's protocol as its client uses to list and download.

Small files are answered from the hub's own address, large ones by a redirect to another host, as the hub does it.
What a network does to bytes can be ordered, a connection that breaks off and damage, and so can lies of a mirror.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = 2000
"""From so many bytes on a file is a large one."""


@dataclass
class Asked:
    """One request: method, path, headers in lower case, and which host it came to."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class HubServer:
    """``repositories``: name to path to content. All have one commit, which is what their contents make it.

    Attributes:
        gated: names whose conditions nobody has accepted.
        cuts: path to the number of bytes after which each connection for it breaks off; 0 is at once.
        stalls: path to the number of bytes after which nothing more comes, as long as the server runs.
        damaged: paths whose bytes come wrong.
        knows_ranges: whether it sends the rest of a file where that is asked for; some caches send the whole.
        pages: files per page of a listing.
        lies: path to what its entry in the listing says otherwise.
        commit_lie: what it says of the commit's name.
        etag: what it says of small files' content.
        page: what it answers whatever it's asked, as a proxy with a login page does.
    """

    url: str
    other_url: str
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    stalls: dict[str, int] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    knows_ranges: bool = True
    pages: int = 1000
    lies: dict[str, dict[str, Any]] = field(default_factory=dict)
    commit_lie: str | None = None
    etag: str | None = None
    page: bytes | None = None
    asked: list[Asked] = field(default_factory=list)

    def commit(self, repository: str) -> str:
        files = self.repositories[repository]
        return hashlib.sha1(b"".join(path.encode() + files[path] for path in sorted(files))).hexdigest()

    def downloads(self, path: str) -> list[str | None]:
        """The ranges asked for in GETs of a file's bytes, in order; None is the whole."""
        ends = [asked for asked in self.asked if asked.method == "GET" and asked.path.endswith(path)]
        return [asked.headers.get("range") for asked in ends if asked.path.startswith("/large/")]


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(content: bytes) -> bool:
    return len(content) >= LARGE


def tree_entry(path: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": git_blob(content)}
    if is_large(content):
        sha256 = hashlib.sha256(content).hexdigest()
        entry |= {"oid": "0" * 40, "lfs": {"oid": sha256, "size": len(content), "pointerSize": 134}}
    return entry


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A running server on a free port of this machine."""
    hub: HubServer
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            parts = urlsplit(self.path)
            path = unquote(parts.path)
            hub.asked.append(Asked(self.command, path, {k.lower(): v for k, v in self.headers.items()}))
            if hub.page is not None:
                return self._send(200, {"Content-Type": "text/html"}, hub.page)
            if path.startswith("/large/"):
                return self._large(path)
            repository = next((name for name in hub.repositories if f"/{name}/" in path), None)
            if repository is None:
                return self._send(401, {"X-Error-Code": "RepoNotFound"})
            if repository in hub.gated:
                return self._send(403, {"X-Error-Code": "GatedRepo"})
            kind, _, rest = path.partition(f"/{repository}/")[2].partition("/")
            files, commit = hub.repositories[repository], hub.commit(repository)
            if rest.split("/")[0] not in ("main", commit):
                return self._send(404, {"X-Error-Code": "RevisionNotFound"})
            if kind == "revision":
                return self._json(
                    {"id": repository, "sha": hub.commit_lie or commit, "private": False, "siblings": []}
                )
            if kind == "tree":
                return self._tree(files, parts.query)
            name = rest.partition("/")[2]
            if name not in files:
                return self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return self._file(repository, name, files[name], commit)

        def _tree(self, files: Mapping[str, bytes], query: str) -> None:
            start = int(query.rpartition("cursor=")[2]) if "cursor=" in query else 0
            entries = [tree_entry(path, content) | hub.lies.get(path, {}) for path, content in sorted(files.items())]
            end, headers = start + hub.pages, {}
            if end < len(entries):
                here = f"{hub.url}{urlsplit(self.path).path}?recursive=True&cursor={end}"
                headers["Link"] = f'<{here}>; rel="next"'
            self._json(entries[start:end], headers)

        def _file(self, repository: str, name: str, content: bytes, commit: str) -> None:
            if is_large(content):
                sha256 = hashlib.sha256(content).hexdigest()
                linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
                where = f"{hub.other_url}/large/{repository}/{name}"
                return self._send(302, {"X-Repo-Commit": commit, "Location": where, **linked})
            body = damage(content) if name in hub.damaged else content
            return self._send(200, {"X-Repo-Commit": commit, "ETag": f'"{hub.etag or git_blob(content)}"'}, body)

        def _large(self, path: str) -> None:
            repository = next(name for name in hub.repositories if path.startswith(f"/large/{name}/"))
            name = path.removeprefix(f"/large/{repository}/")
            content = hub.repositories[repository][name]
            if name in hub.damaged:
                content = damage(content)
            status, headers, start = 200, {"Accept-Ranges": "bytes"}, 0
            wanted = self.headers.get("Range")
            if wanted and hub.knows_ranges:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            cuts = hub.cuts.get(name)
            self._send(status, headers, content[start:], cuts.pop(0) if cuts else hub.stalls.get(name))
            if name in hub.stalls:
                ended.wait()

        def _json(self, value: Any, headers: Mapping[str, str] | None = None) -> None:
            self._send(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())

        def _send(
            self, status: int, headers: Mapping[str, str], body: bytes = b"", cut_after: int | None = None
        ) -> None:
            if cut_after == 0:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[:cut_after])
            if cut_after is not None:
                self.close_connection = True

        do_GET = do_HEAD = _respond

        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

        def log_message(self, *args: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as listening:
        port = listening.server_address[1]
        # The same server by another name: for the client a host that the token is not for.
        hub = HubServer(f"http://127.0.0.1:{port}", f"http://localhost:{port}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            ended.set()
            listening.shutdown()
            thread.join()


def damage(content: bytes) -> bytes:
    """As long, and one bit different in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
