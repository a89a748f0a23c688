"""The download of one picture, within the bounds of a ``FetchPolicy``.

Built on ``http.client`` because the socket has to be ours: a host name is resolved once, its addresses are checked,
and the connection goes to a checked address while the name stays in the Host header and in TLS. A second resolution
by a library underneath could answer differently. Proxies and ``.netrc`` are not read for the same reason.
"""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import zlib
from collections.abc import Callable
from concurrent.futures import TimeoutError as FuturesTimeoutError
from contextlib import closing
from functools import cached_property
from typing import Protocol
from urllib.parse import urljoin

from xsam_backend.errors import ImageError, LabelStudioError
from xsam_backend.labelstudio.deadlines import Deadline, TimedSocket, TimedTLSSocket
from xsam_backend.labelstudio.egress import (
    EgressRules,
    FetchPolicy,
    Resolver,
    WebAddress,
    redacted,
    resolve_host,
    tls_context,
)
from xsam_backend.labelstudio.lookups import Lookups

logger = logging.getLogger(__name__)

_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK_BYTES = 64 * 1024


class Credentials(Protocol):
    """What a download needs of ``LabelStudioClient``."""

    def authorization(self) -> str:
        """The Authorization header's value."""

    def renew_authorization(self, refused: str) -> str | None:
        """Another value after ``refused`` met a 401; None if there is none to be had."""


class Downloader:
    """Fetches bytes over http and https. Safe to share between threads; keeps no connection."""

    def __init__(
        self, policy: FetchPolicy, credentials: Credentials | None = None, *, resolver: Resolver = resolve_host
    ) -> None:
        self._policy = policy
        self._credentials = credentials
        self._rules = EgressRules(policy)
        self._lookups = Lookups(resolver)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = tls_context()
        context.sslsocket_class = TimedTLSSocket
        return context

    def download(self, url: str) -> bytes:
        """The body behind ``url``, redirects followed, each hop checked anew.

        The token goes to the configured Label Studio's file paths, and never again once a redirect has led elsewhere.

        Raises:
            ImageError: refused by the policy, or not to be had; what was asked for is not repeated in the message.
        """
        deadline = Deadline(self._policy.total_timeout_s)
        hop, at_label_studio = url, True
        for _ in range(self._policy.max_redirects + 1):
            try:
                address = WebAddress.parse(hop)
                at_label_studio = at_label_studio and self._rules.is_label_studio(address)
                answer = self._ask(address, deadline, with_token=at_label_studio and self._rules.gets_token(address))
            except ImageError as error:
                raise error if hop is url else ImageError(f"redirected to {redacted(hop)}: {error}") from error
            if isinstance(answer, bytes):
                logger.debug("fetched %s: %d bytes", address, len(answer))
                return answer
            hop = answer
        raise ImageError(
            f"more than {self._policy.max_redirects} redirects, the last to {redacted(hop)}: "
            "put the picture's final address into the task"
        )

    def _ask(self, address: WebAddress, deadline: Deadline, *, with_token: bool) -> bytes | str:
        """The body, or the address that the server redirects to."""
        token = self._authorization() if with_token else None
        answer = self._get(address, deadline, token)
        if answer == 401 and token is not None and self._credentials is not None:
            try:
                token = self._credentials.renew_authorization(token)
            except LabelStudioError as error:
                raise ImageError(str(error)) from error
            if token is not None:
                answer = self._get(address, deadline, token)
        if isinstance(answer, int):
            raise ImageError(self._status_in_words(answer, address, token_sent=with_token))
        return answer

    def _authorization(self) -> str | None:
        try:
            return self._credentials.authorization() if self._credentials else None
        except LabelStudioError as error:
            raise ImageError(str(error)) from error

    def _get(self, address: WebAddress, deadline: Deadline, token: str | None) -> bytes | str | int:
        """One request: the body, the address redirected to, or the status that speaks against it."""
        headers = {
            "Host": address.host_header,
            "User-Agent": "xsam-backend",
            "Accept": "*/*",  # Label Studio answers 406 to image/*
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        if token is not None:
            headers["Authorization"] = token
        try:
            with closing(self._connected(address, deadline)) as connection:
                connection.request("GET", address.target, headers=headers)
                with closing(connection.getresponse()) as response:
                    location = response.headers.get("Location")
                    if response.status in _REDIRECTS and location:
                        # Header bytes arrive as Latin-1; addresses in them are ASCII, or UTF-8 in sloppy servers.
                        location = location.encode("latin-1").decode("utf-8", "replace")
                        return urljoin(f"{address.scheme}://{address.host_header}{address.target}", location)
                    return self._body(response) if response.status == 200 else response.status
        except (TimeoutError, FuturesTimeoutError):  # one class only from Python 3.11 on
            raise ImageError(self._timeout_in_words(address, deadline)) from None
        except ssl.SSLCertVerificationError as error:
            raise ImageError(
                f"the TLS certificate of {address.host_header} is not trusted ({error.verify_message}): "
                "point SSL_CERT_FILE at your certificate authority's file"
            ) from error
        except (http.client.HTTPException, OSError, zlib.error, UnicodeError, ValueError) as error:
            raise ImageError(
                f"the connection to {address.host_header} failed ({type(error).__name__}: {error}): "
                "check that the address is right and the server is up"
            ) from error

    def _connected(self, address: WebAddress, deadline: Deadline) -> http.client.HTTPConnection:
        """An HTTP connection to one of the host's permitted addresses, TLS done."""
        bound_s = self._policy.connect_timeout_s
        trusted = self._rules.is_named(address)
        within = Deadline(deadline.at_most(bound_s))
        try:
            resolved = self._lookups.addresses(address.host, address.port, within, trusted=trusted)
        except (socket.gaierror, UnicodeError):
            raise ImageError(f"no host named '{address.host}' is known: correct the task's data") from None
        failure: OSError = OSError("the host name has no address")
        for ip in self._rules.permitted(address, resolved):
            family = socket.AF_INET6 if ":" in ip else socket.AF_INET
            raw = TimedSocket(family, socket.SOCK_STREAM)
            try:
                raw.settimeout(deadline.at_most(bound_s))
                raw.connect((ip, address.port))
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                timed: TimedSocket | TimedTLSSocket = raw
                if address.scheme == "https":
                    wrapped = self._tls.wrap_socket(raw, server_hostname=address.host)
                    assert isinstance(wrapped, TimedTLSSocket)
                    timed = wrapped
            except OSError as error:
                raw.close()
                failure = error
                continue
            timed.wait_s = lambda: deadline.at_most(self._policy.read_timeout_s)
            connection = http.client.HTTPConnection(address.host, address.port)
            connection.auto_open = 0  # or http.client would connect anew, by name, if the socket were lost
            connection.sock = timed
            return connection
        raise failure

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        """All of the body, unpacked, counted while it arrives."""
        limit = self._policy.max_bytes
        announced = response.length
        if announced is not None and announced > limit:
            raise self._too_many_bytes()
        unpack = _unpacker(response.headers.get("Content-Encoding", "identity").strip().lower())
        received, body = 0, bytearray()
        while chunk := response.read(_CHUNK_BYTES):
            received += len(chunk)
            body += unpack(chunk, limit - len(body) + 1)
            if len(body) > limit or received > limit:
                raise self._too_many_bytes()
        if announced is not None and received < announced:
            raise ImageError(
                f"the download broke off after {received:,} of {announced:,} bytes: try again, or upload it again"
            )
        return bytes(body)

    def _too_many_bytes(self) -> ImageError:
        return ImageError(
            f"the picture's file has more than the {self._policy.max_bytes:,} bytes allowed: "
            "shrink it, or raise image_max_mb"
        )

    def _timeout_in_words(self, address: WebAddress, deadline: Deadline) -> str:
        if deadline.passed:
            return (
                f"not there after {deadline.total_s:g} s in total from {address.host_header}: "
                "the server is slow or the file large; raise image_timeout_s if that is how it is"
            )
        return (
            f"{address.host_header} doesn't answer (waited {self._policy.connect_timeout_s:g} s for a connection, "
            f"{self._policy.read_timeout_s:g} s for data): check that the server is up and reachable from here"
        )

    def _status_in_words(self, status: int, address: WebAddress, *, token_sent: bool) -> str:
        if self._rules.is_label_studio(address):
            token = "none" if self._credentials is None else "sent" if token_sent else "withheld"
            words = _LABEL_STUDIO_STATUS.get((status, token)) or _LABEL_STUDIO_STATUS.get((status, "any"))
            if words:
                return words
        elif status in (401, 403):
            return (
                f"{address.host_header} refuses the picture (HTTP {status}): the Label Studio token is not sent "
                "there; make the picture public, renew its signed URL, or connect the storage in Label Studio"
            )
        elif status in (404, 410):
            return f"{address.host_header} has no such picture (HTTP {status}): correct the task's data"
        return f"{address.host_header} answered HTTP {status} instead of a picture: try again, or look into its log"


_LABEL_STUDIO_STATUS = {
    (401, "none"): (
        "Label Studio wants a token for this file (HTTP 401): set the Label Studio token (label_studio_token) "
        "to one from Account & Settings"
    ),
    (401, "withheld"): (
        "Label Studio wants a token (HTTP 401), which is sent for its file paths only (/data/upload/, "
        "/data/local-files/, storage) and never after a redirect from elsewhere: correct the task's data"
    ),
    (401, "sent"): (
        "Label Studio refuses the token (HTTP 401): it is revoked or expired, or the organization has disabled "
        "legacy tokens; set label_studio_token to a personal access token from Account & Settings"
    ),
    (403, "any"): (
        "Label Studio forbids this file (HTTP 403): give the token's user access to the project; local files also "
        "need LOCAL_FILES_SERVING_ENABLED=true in Label Studio"
    ),
    (404, "any"): (
        "Label Studio has no such file (HTTP 404): it was deleted, or no storage of the task's project covers it; "
        "upload it again or connect the storage"
    ),
    (424, "any"): (
        "Label Studio cannot read the file from its storage (HTTP 424): check the storage's credentials and that the "
        "file is still there"
    ),
    (500, "any"): (
        "Label Studio failed on this file (HTTP 500), as it does for uploads that are gone: upload it again, or look "
        "into Label Studio's log"
    ),
}
"""What to say by (status, what became of the token)."""


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """A function (packed chunk, most bytes wanted) -> unpacked bytes. Packed is what wasn't asked for, yet happens.

    Unpacking stops at the wanted size, so that a few kilobytes cannot become gigabytes in memory.
    """
    if encoding in ("", "identity"):
        return lambda chunk, _: chunk
    if encoding in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(wbits=47).decompress  # 47: either of the two headers
    raise ImageError(
        f"expected the picture as it is, got it packed with '{encoding[:20]}': store it without Content-Encoding"
    )
