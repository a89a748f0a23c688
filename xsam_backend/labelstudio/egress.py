"""Whom this service may talk to when a task names an address: the egress policy.

Task data comes from annotators and importers, so an address in it may point at the operator's own network. The rules:
only http and https, no user name in the address, public addresses only, unless the operator lists the host or it is
the configured Label Studio; the token travels to that Label Studio's file paths and nowhere else.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import certifi

from xsam_backend.errors import ImageError, SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]
"""Host name and port to IP addresses, as text."""

# Paths by which Label Studio serves files; nothing else gets the token, for some of its GETs change things.
_FILE_PATHS = re.compile(
    r"/(data/upload/|data/local-files(/|$)|storage-data/uploaded/|(tasks|projects)/\d+/(resolve|presign)/)"
)

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_AZURE_HOST = ipaddress.ip_address("168.63.129.16")  # public by number, yet the cloud's own machine room

_BEGIN = re.compile(r"((?:[a-z][a-z0-9+.-]*:)?/*)(.*)", re.IGNORECASE | re.DOTALL)

_URL_CHARACTERS = "/%:@!$&'()*+,;=~?[]|"


@dataclass(frozen=True)
class FetchPolicy:
    """What may be fetched, and how much of it.

    Attributes:
        label_studio_url: address of the one Label Studio that gets the token; None without Label Studio.
        token: legacy token or personal access token of a Label Studio user.
        allowed_private_hosts: host names, addresses or networks (10.0.0.0/8) that may be private.
        local_root: folder below which local files may be read; None: no local file is read.
        max_bytes: largest encoded picture.
        max_pixels: largest width x height, checked from the header before decoding.
        connect_timeout_s: longest wait for a connection to one address, and for its name.
        read_timeout_s: longest silence while receiving.
        total_timeout_s: longest download, redirects included.
        max_redirects: most redirects of one download.

    Raises:
        SettingsError: a value that cannot work.
    """

    label_studio_url: str | None = None
    token: str | None = field(default=None, repr=False)
    allowed_private_hosts: tuple[str, ...] = ()
    local_root: Path | None = None
    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 80_000_000
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 10.0
    total_timeout_s: float = 20.0
    max_redirects: int = 5

    def __post_init__(self) -> None:
        if self.token and not self.label_studio_url:
            raise SettingsError("a Label Studio token needs the address that it is for: set label_studio_url")
        if self.label_studio_url:
            try:
                WebAddress.parse(self.label_studio_url)
            except ImageError as error:
                raise SettingsError(f"label_studio_url: {error}") from None
        root = self.local_root
        if root is not None and (not root.is_dir() or root.resolve() == root.resolve().parent):
            raise SettingsError(f"local_files_root: expected an existing folder, and not the whole disk, got {root}")
        for name in ("max_bytes", "max_pixels", "connect_timeout_s", "read_timeout_s", "total_timeout_s"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name}: expected more than 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class WebAddress:
    """An http(s) address, taken apart once; the connection is made to these parts and to no second reading of them.

    Attributes:
        scheme: http or https.
        host: lower case, ASCII (international names in their xn-- form), IPv6 without brackets.
        port: always a number.
        path: as it came, still percent-encoded.
        target: path and query as sent. Existing percent signs stay: Label Studio's paths are quoted already.
    """

    scheme: str
    host: str
    port: int
    path: str
    target: str

    @classmethod
    def parse(cls, url: str) -> WebAddress:
        """Take ``url`` apart.

        Raises:
            ImageError: not http(s), a user name in it, no host, a port that is none, control characters.
        """
        if any(ord(character) < 32 or ord(character) == 127 for character in url):
            raise ImageError("the address has control characters in it: correct the task's data")
        try:
            parts = urlsplit(url)
            port, host = parts.port, (parts.hostname or "")
            host = host if host.isascii() else host.encode("idna").decode("ascii")
        except (ValueError, UnicodeError):
            raise ImageError("the address cannot be read (host or port): correct the task's data") from None
        if parts.scheme not in ("http", "https"):
            raise ImageError(
                f"expected an http or https address, got scheme '{parts.scheme}': correct the task's data"
            )
        if parts.username is not None or parts.password is not None:
            raise ImageError(
                "the address has a user name or password in it, which ends up in logs and exports: "
                "use a signed URL or connect the storage in Label Studio"
            )
        if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+(%[a-z0-9._-]+)?", host):
            raise ImageError(f"the address has no usable host name ('{host}'): correct the task's data")
        path = parts.path or "/"
        target = quote(path + (f"?{parts.query}" if parts.query else ""), safe=_URL_CHARACTERS)
        return cls(parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme], path, target)

    @property
    def origin(self) -> tuple[str, str, int]:
        """(scheme, host, port): what has to be equal for two addresses to be one server."""
        return self.scheme, self.host, self.port

    @property
    def host_header(self) -> str:
        """Value of the Host header; the scheme's own port is left out because signed URLs sign it so."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header}{self.path}" + ("?…" if "?" in self.target else "")


class EgressRules:
    """Answers whether an address may be talked to, and whether with the token."""

    def __init__(self, policy: FetchPolicy) -> None:
        self._label_studio = WebAddress.parse(policy.label_studio_url) if policy.label_studio_url else None
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._names: set[str] = set()
        for entry in policy.allowed_private_hosts:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[] "), strict=False))
            except ValueError:
                if "/" in entry or ":" in entry or not entry.strip():
                    raise SettingsError(
                        f"allow_private_hosts: expected a host name, address or network (10.0.0.0/8), got '{entry}'"
                    ) from None
                self._names.add(entry.strip().lower().rstrip("."))

    def is_label_studio(self, address: WebAddress) -> bool:
        """Whether this is the configured Label Studio: same scheme, host and port."""
        return self._label_studio is not None and address.origin == self._label_studio.origin

    def is_named(self, address: WebAddress) -> bool:
        """Whether the operator has named this host: as Label Studio, or among the hosts that may be private."""
        return self.is_label_studio(address) or address.host.rstrip(".") in self._names

    def gets_token(self, address: WebAddress) -> bool:
        """Whether a request for this address may carry the token."""
        if self._label_studio is None or not self.is_label_studio(address):
            return False
        decoded = unquote(address.path)
        prefix = self._label_studio.path.rstrip("/")
        return (
            posixpath.normpath(decoded).rstrip("/") == decoded.rstrip("/")
            and decoded.startswith(prefix)
            and _FILE_PATHS.match(decoded[len(prefix) :]) is not None
        )

    def permitted(self, address: WebAddress, resolved: Iterable[str]) -> list[str]:
        """Those of a host's IP addresses that may be connected to, in their order.

        Raises:
            ImageError: none of them.
        """
        candidates = list(resolved)
        if self.is_named(address):
            return candidates
        allowed = [text for text in candidates if self._may_connect(ipaddress.ip_address(text))]
        if not allowed:
            raise ImageError(
                f"the host '{address.host}' is on a private or reserved address ({', '.join(candidates)}), which "
                "task data may not reach: if it is meant to, list the host or its network in allow_private_hosts"
            )
        return allowed

    def _may_connect(self, address: Address) -> bool:
        inner = _embedded_ipv4(address) or address
        return is_public(inner) or any(inner in network or address in network for network in self._networks)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the internet at large, whatever way its number is wrapped."""
    inner = _embedded_ipv4(address) or address
    if inner == _AZURE_HOST:
        return False
    return inner.is_global and not (
        inner.is_multicast or inner.is_reserved or inner.is_link_local or inner.is_loopback or inner.is_unspecified
    )


def _embedded_ipv4(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to (mapped, 6to4, NAT64), if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def resolve_host(host: str, port: int) -> list[str]:
    """IP addresses of a host name, in the system's order of preference, each once.

    Raises:
        OSError: no such name, or nobody to ask.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def redacted(url: str) -> str:
    """``url`` as it may stand in messages and logs: no user name, no query (signatures live there), not too long.

    A password shows nowhere, however wrong the address around it is; for that, all before an @ with a colon goes.

    One query is kept, because it names a file and signs nothing: the ``d`` of Label Studio's local files.
    """
    start, question, query = url.partition("?")
    begin, rest = _BEGIN.findall(start.partition("#")[0])[0]
    authority = re.split(r"[/?#\\]", url[len(begin) :], maxsplit=1)[0]
    if begin.endswith("//") and "@" not in authority and not re.search(r"(^[^:]*|:\d*|\])$", authority):
        rest = f"{authority.partition(':')[0]}:…"  # no port, so half of a password with one of these signs in it
    before, at, after = rest.rpartition("@") if ":" in rest.rpartition("@")[0] else rest.partition("@")
    if at and ":" in before:
        after = re.sub(r":(?!\d*(/|$)).*", ":…", after, flags=re.DOTALL)  # of another address, damaged behind it
    shown = begin + (f"…@{after}" if at and (":" in before or "/" not in before) else rest)
    if url[:5].lower() == "data:":
        shown = f"{url.partition(',')[0][:60]},… ({len(url):,} characters)"
    elif question:
        names_file = start.rstrip("/").endswith("/data/local-files") and re.fullmatch(r"d=[^&]*", query)
        shown += f"?{query}" if names_file else "?…"
    shown = shown if len(shown) <= 200 else shown[:199] + "…"
    return "".join(character if character.isprintable() else "?" for character in shown)


def tls_context() -> ssl.SSLContext:
    """Trust of the system's certificates (``SSL_CERT_FILE`` adds a company's own) and of the ones that ship along."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
