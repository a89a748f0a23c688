"""How many requests a client may make, and how many wrong passwords it may try, by mistake or on purpose.

Clients are addresses. Label Studio sends everybody's requests from one, so a limit of requests has to be generous
there, and is off unless it is set.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from werkzeug.datastructures import Authorization
from werkzeug.exceptions import TooManyRequests

from xsam_backend.server.auth import BasicAuth

FREE_ENDPOINTS = frozenset({"protocol.health", "protocol.live", "protocol.ready", "protocol.metrics"})
"""Asked again and again by machines, and cheap."""

CLIENTS_REMEMBERED = 1000
"""Of those that knew the password."""


class ClientLimit:
    """Counts each address's requests of the last minute. Safe to use from several threads."""

    def __init__(self, per_minute: int) -> None:
        self._most = RateLimitItemPerMinute(per_minute) if per_minute else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def demand(self, address: str | None) -> None:
        """Count a request and let it pass.

        Raises:
            TooManyRequests: its client has made too many; says when the next one may come.
        """
        if self._most is None or self._limiter.hit(self._most, client_of(address)):
            return
        raise TooManyRequests(
            f"expected at most {self._most.amount} requests a minute from {address}, got more: slow down, or raise "
            "requests_per_minute",
            retry_after=_wait_s(self._limiter, self._most, client_of(address)),
        )


class GuardedLogin:
    """Basic auth on any address, of which each client may try so many wrong passwords a minute.

    Then right ones are refused as well, or a guess that hits would show. Not those of a client that has known the
    password before: others at its address, such as a second project with a mistyped password, mustn't shut out Label
    Studio. Safe to use from several threads.

    Args:
        failures_per_minute: 0: any number.
    """

    def __init__(self, login: BasicAuth, failures_per_minute: int) -> None:
        self._login = login
        self._most = RateLimitItemPerMinute(failures_per_minute) if failures_per_minute else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._lock = threading.Lock()
        self._knew: OrderedDict[str, None] = OrderedDict()

    @property
    def is_on(self) -> bool:
        """Whether anything is demanded."""
        return self._login.is_on

    def demand(self, given: Authorization | None, address: str | None) -> None:
        """Let a request with this header pass. One without the header guesses nothing, and isn't counted.

        Raises:
            Unauthorized: it may not.
            TooManyRequests: its client has been wrong too often; says when it may try again.
        """
        client = client_of(address)
        if not self._login.is_on or self._most is None or given is None:
            self._login.demand(given)
            return
        with self._lock:  # or several guesses at once would be as good as one
            is_right = self._login.accepts(given)
            if not (is_right and client in self._knew) and not self._limiter.test(self._most, client):
                raise TooManyRequests(
                    f"expected at most {self._most.amount} wrong passwords a minute from {address}, got more: "
                    "correct the password in Label Studio's form of this backend, then wait",
                    retry_after=_wait_s(self._limiter, self._most, client),
                )
            if is_right:
                self._knew[client] = None
                self._knew.move_to_end(client)
                if len(self._knew) > CLIENTS_REMEMBERED:
                    self._knew.popitem(last=False)
            else:
                self._limiter.hit(self._most, client)
        self._login.demand(given)


def _wait_s(limiter: SlidingWindowCounterRateLimiter, most: RateLimitItemPerMinute, client: str) -> int:
    return max(1, math.ceil(limiter.get_window_stats(most, client).reset_time - time.time()))


def client_of(address: str | None) -> str:
    """Whom an address stands for: with IPv6 a network of 64 bits, as whoever has one address has all of it."""
    try:
        number = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:  # a server's own words for a client without address
        return "unknown"
    if isinstance(number, ipaddress.IPv6Address):
        return str(number.ipv4_mapped or ipaddress.ip_network((number, 64), strict=False))
    return str(number)
